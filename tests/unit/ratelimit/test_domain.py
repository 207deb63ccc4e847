"""Which rule a descriptor meets, and the bucket that it spends from."""

import pytest

from services.ratelimit.domains.domain import Branch, Domain, Entry, Level, Rate, Rule, Unit

Pair = tuple[str, str | bytes]


def rule(name: str) -> Rule:
    return Rule(Rate.of(1, Unit.SECOND), name=name)


def entries(*pairs: Pair) -> list[Entry]:
    return [Entry(key, value if isinstance(value, bytes) else value.encode()) for key, value in pairs]


def named(domain: Domain, *pairs: Pair) -> str | None:
    """The name of the rule that a descriptor meets."""
    match = domain.match(entries(*pairs))
    return match.rule.name if match else None


def bucket(domain: Domain, *pairs: Pair, override: Rate | None = None) -> str:
    match = domain.match(entries(*pairs), override)
    assert match
    return match.bucket


MESSAGES = Domain(
    "messaging",
    Level(
        [
            Branch("message_type", "marketing", branches=Level([Branch("to_number", rule=rule("marketing to"))])),
            Branch("to_number", rule=rule("to")),
            Branch("to_number", "911", rule=rule("emergency")),
            Branch("path", "/files*", rule=rule("files"), branches=Level([Branch("method", "G*", rule=rule("get"))])),
            Branch("path", "/files/old*", rule=rule("never met, since the other stands first")),
            Branch("path", "/files/one", rule=rule("one file")),
            Branch("path", "/shared*", rule=rule("shared"), shares_bucket=True),
            Branch("path", rule=rule("any path")),
            Branch("host", "*", rule=rule("any host")),
            Branch("both", rule=rule("any value")),
            Branch("both", "*", rule=rule("what begins with nothing")),
            Branch("allowed", "all"),
        ]
    ),
)


@pytest.mark.parametrize(
    ("descriptor", "expected"),
    [
        ([("message_type", "marketing"), ("to_number", "1")], "marketing to"),
        ([("to_number", "1")], "to"),
        ([("to_number", "911")], "emergency"),
        ([("to_number", "")], "to"),
        ([("message_type", "marketing")], None),
        ([("message_type", "other"), ("to_number", "1")], None),
        ([("to_number", "1"), ("message_type", "marketing")], None),
        ([("to_number", "1"), ("to_number", "1")], None),
        ([("message_type", "marketing"), ("to_number", "1"), ("more", "x")], None),
        ([("TO_NUMBER", "1")], None),
        ([("path", "/files/one")], "one file"),
        ([("path", "/files/two")], "files"),
        ([("path", "/files/old/x")], "files"),
        ([("path", "/files")], "files"),
        ([("path", "/file")], "any path"),
        ([("path", b"/files\xff\x00\n")], "files"),
        ([("path", "/files/two"), ("method", "GET")], "get"),
        ([("path", "/files/two"), ("method", "PUT")], None),
        ([("path", "/files/one"), ("method", "GET")], None),
        ([("host", "")], "any host"),
        ([("both", "")], "what begins with nothing"),
        ([("allowed", "all")], None),
        ([("allowed", "*")], None),
    ],
)
def test_the_deepest_full_match_counts_and_values_come_before_wildcards_before_keys(
    descriptor: list[Pair], expected: str | None
) -> None:
    assert named(MESSAGES, *descriptor) == expected


def test_every_value_has_a_bucket_of_its_own_and_the_same_one_each_time() -> None:
    assert bucket(MESSAGES, ("to_number", "1")) == bucket(MESSAGES, ("to_number", "1"))
    assert bucket(MESSAGES, ("to_number", "1")) != bucket(MESSAGES, ("to_number", "2"))
    assert bucket(MESSAGES, ("path", "/files/1")) != bucket(MESSAGES, ("path", "/files/2"))


def test_values_share_a_bucket_where_the_rule_says_so() -> None:
    assert bucket(MESSAGES, ("path", "/shared/1")) == bucket(MESSAGES, ("path", "/shared/2"))
    literal = Domain("messaging", Level([Branch("path", rule=rule("any path"))]))
    assert bucket(MESSAGES, ("path", "/shared/1")) != bucket(literal, ("path", "/shared*"))


def test_no_two_descriptors_share_a_bucket() -> None:
    anything = Level([Branch("a"), Branch("ab"), Branch("a=b"), Branch("b")])
    deep = Level([Branch(key, rule=rule("deep"), branches=anything) for key in ("a", "ab", "a=b", "b")])
    domains = [Domain(name, deep) for name in ("d", "da")]
    values: list[str | bytes] = ["", "a", "b", "=b", "\x00", "\n", "a\x00b", b"\xff", "x" * 10_000, "1 per second"]
    names = [bucket(domain, (key, value)) for domain in domains for key in ("a", "ab", "a=b", "b") for value in values]
    names += [bucket(domains[0], ("a", "b"), override=Rate.of(count, Unit.SECOND)) for count in (1, 2)]
    names += [bucket(domains[0], ("a", "b"), override=Rate.of(1, unit)) for unit in (Unit.MINUTE, Unit.DAY)]
    names += [bucket(domains[0], ("a", x), ("b", y), override=Rate.of(1, Unit.DAY)) for x, y in [("", "a"), ("a", "")]]
    assert len(set(names)) == len(names)
    assert {len(name) for name in names} == {len("rls:") + 32}


def test_a_limit_that_came_with_the_descriptor_holds_in_place_of_any_rule_s() -> None:
    override = Rate.of(7, Unit.HOUR)
    for pairs in ([("to_number", "1")], [("unheard", "of")]):
        match = MESSAGES.match(entries(*pairs), override)
        assert match
        assert match.rule == Rule(override)


@pytest.mark.parametrize(
    ("unit", "seconds"),
    [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400), ("week", 604_800), ("month", 2_592_000),
     ("year", 31_536_000)],
)  # fmt: skip
def test_units_are_as_long_as_for_others(unit: str, seconds: int) -> None:
    rate = Rate.of(3, Unit(unit))
    assert rate.limit
    assert rate.limit.rate_per_second * seconds == 3
    assert rate.limit.capacity == 3


def test_a_burst_is_the_capacity_and_no_requests_is_no_limit_but_a_wall() -> None:
    burst = Rate.of(10, Unit.SECOND, burst=50)
    assert burst.limit
    assert burst.limit.rate_per_second == 10
    assert burst.limit.capacity == 50
    assert Rate.of(0, Unit.SECOND).limit is None


@pytest.mark.parametrize("unit", list(Unit))
@pytest.mark.parametrize("count", [1, 2**32 - 1])
def test_every_number_that_the_protocol_can_carry_is_a_rate(count: int, unit: Unit) -> None:
    limit = Rate.of(count, unit).limit
    assert limit
    assert limit.rate_per_second * unit.seconds == count
