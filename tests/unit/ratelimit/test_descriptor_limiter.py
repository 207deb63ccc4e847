"""Questions about descriptors: what is taken, what is refused, and when it would pass."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from meshkit.errors import Reason, ShoalError
from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Decision, Spend
from services.ratelimit.buckets.bucket_store import InMemoryBucketStore
from services.ratelimit.buckets.local_buckets import LocalBuckets
from services.ratelimit.domains.descriptor_limiter import Answer, Descriptor, DescriptorLimiter
from services.ratelimit.domains.domain import Entry, Rate, Unit
from services.ratelimit.domains.domain_file import read_domains

FILE = """\
domain: api
descriptors:
  - {key: user, rate_limit: {unit: second, requests_per_unit: 2, burst: 10}}
  - {key: address, rate_limit: {unit: minute, requests_per_unit: 3}}
  - {key: tested, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 3}}
  - {key: closed, rate_limit: {unit: day, requests_per_unit: 0}}
  - {key: closed, value: soon, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 0}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: vip, rate_limit: {name: vip, replaces: [{name: normal}], unit: minute, requests_per_unit: 50}}
  - {key: vip, value: free, rate_limit: {unlimited: true, replaces: [{name: normal}]}}
  - {key: normal, rate_limit: {name: normal, unit: minute, requests_per_unit: 1}}
"""


@dataclass
class World:
    """A limiter with its time in the hands of the test, in microseconds."""

    now: int = 1_800_000_000 * MICROS_PER_SECOND

    def __post_init__(self) -> None:
        domains = read_domains({"api.yaml": FILE})
        self.limiter = DescriptorLimiter(buckets=InMemoryBucketStore(lambda: self.now), domains=lambda: domains)

    async def ask(self, *descriptors: Descriptor, domain: str = "api") -> Answer:
        return await self.limiter.ask(domain, descriptors)

    async def left(self, key: str, value: str = "x") -> int:
        """What a bucket holds."""
        (status,) = (await self.ask(a(key, value, hits=0))).statuses
        assert status.holding
        return status.holding.remaining


@pytest.fixture
def world() -> World:
    return World()


def a(key: str, value: str = "x", *, hits: int = 1, override: Rate | None = None) -> Descriptor:
    return Descriptor((Entry(key, value.encode()),), hits, override)


def over(answer: Answer) -> list[bool]:
    """For each descriptor whether it is over its limit."""
    return [status.over_limit for status in answer.statuses]


async def test_a_bucket_pays_until_it_is_empty_and_waiting_as_told_passes(world: World) -> None:
    for expected in range(9, -1, -1):
        answer = await world.ask(a("user"))
        assert not answer.over_limit
        assert answer.retry_after_micros == 0
        assert await world.left("user") == expected
    refused = await world.ask(a("user"))
    assert refused.over_limit
    assert refused.retry_after_micros == MICROS_PER_SECOND // 2
    world.now += MICROS_PER_SECOND // 2 - 1
    assert (await world.ask(a("user"))).over_limit
    world.now += 1
    assert not (await world.ask(a("user"))).over_limit


async def test_statuses_stand_in_the_order_of_the_descriptors(world: World) -> None:
    await world.ask(a("address", hits=3))
    answer = await world.ask(a("unmatched"), a("address"), a("free"), a("user"))
    assert over(answer) == [False, True, False, False]
    rates = [status.rule and status.rule.rate and status.rule.rate.unit for status in answer.statuses]
    assert rates == [None, Unit.MINUTE, None, Unit.SECOND]


@pytest.mark.parametrize("other", [a("address"), a("address", hits=4), a("address", hits=0), a("closed")])
async def test_a_refusal_by_one_takes_from_none(world: World, other: Descriptor) -> None:
    await world.ask(a("address", hits=3))
    assert (await world.ask(a("user", hits=5), other)).over_limit
    assert await world.left("user") == 10


async def test_a_look_takes_nothing_and_tells_what_one_hit_would_be_told(world: World) -> None:
    await world.ask(a("address", hits=2))
    assert not (await world.ask(a("address", hits=0))).over_limit
    await world.ask(a("address"))
    look = await world.ask(a("address", hits=0))
    hit = await world.ask(a("address"))
    assert look.over_limit
    assert hit.over_limit
    assert look.retry_after_micros is not None
    assert hit.retry_after_micros is not None
    assert 0 <= look.retry_after_micros - hit.retry_after_micros <= 1
    world.now += hit.retry_after_micros
    assert not (await world.ask(a("address", hits=0))).over_limit
    assert not (await world.ask(a("address"))).over_limit


async def test_a_look_beside_hits_does_not_keep_them_from_being_taken(world: World) -> None:
    answer = await world.ask(a("address", hits=0), a("user", hits=4))
    assert over(answer) == [False, False]
    assert [status.holding and status.holding.remaining for status in answer.statuses] == [3, 6]


async def test_hits_that_are_given_back_at_once_need_none(world: World) -> None:
    await world.ask(a("address", hits=3))
    assert over(await world.ask(a("address"), a("address", hits=-1))) == [False, False]


async def test_hits_are_given_back_and_never_overfill(world: World) -> None:
    await world.ask(a("user", hits=8))
    assert not (await world.ask(a("user", hits=-3))).over_limit
    assert await world.left("user") == 5
    await world.ask(a("user", hits=-(2**64)))
    assert await world.left("user") == 10


async def test_descriptors_with_the_same_bucket_are_one_spend(world: World) -> None:
    assert (await world.ask(a("address", hits=2), a("address", hits=2))).retry_after_micros is None
    assert await world.left("address") == 3
    answer = await world.ask(a("address", hits=2), a("address", hits=1), a("address", hits=-1))
    assert over(answer) == [False] * 3
    assert [status.holding and status.holding.remaining for status in answer.statuses] == [1, 1, 1]


@pytest.mark.parametrize("hits", [4, 2**32 - 1, 2**64 - 1])
async def test_more_than_a_bucket_holds_is_refused_for_good(world: World, hits: int) -> None:
    answer = await world.ask(a("user"), a("address", hits=hits))
    assert over(answer) == [False, True]
    assert answer.retry_after_micros is None
    assert await world.left("user") == 10
    assert await world.left("address") == 3


async def test_a_limit_of_nothing_lets_nothing_pass(world: World) -> None:
    for hits in (0, 1, 2**64 - 1):
        answer = await world.ask(a("closed", hits=hits))
        assert over(answer) == [True]
        assert answer.retry_after_micros is None
    assert not (await world.ask(a("closed", hits=-1), a("user"))).over_limit
    assert await world.left("user") == 9


@pytest.mark.parametrize("descriptor", [a("tested"), a("tested", hits=4), a("tested", hits=0), a("closed", "soon")])
async def test_a_shadow_refuses_nothing_and_shows_what_it_would_have_refused(
    world: World, descriptor: Descriptor
) -> None:
    await world.ask(a("tested", hits=3))
    answer = await world.ask(descriptor, a("user"))
    assert over(answer) == [False, False]
    assert [status.refused for status in answer.statuses] == [True, False]
    assert answer.retry_after_micros == 0
    assert await world.left("user") == 9


async def test_a_rule_that_is_replaced_does_not_count(world: World) -> None:
    for key, value in [("vip", "x"), ("vip", "free")]:
        for _ in range(3):
            answer = await world.ask(a("normal"), a(key, value))
            assert not answer.over_limit
            assert answer.statuses[0].rule is None
    assert not (await world.ask(a("normal"))).over_limit
    assert (await world.ask(a("normal"))).over_limit


async def test_a_limit_that_came_with_the_descriptor_counts(world: World) -> None:
    override = Rate.of(2, Unit.DAY)
    for _ in range(2):
        assert not (await world.ask(a("user", override=override))).over_limit
    assert (await world.ask(a("user", override=override))).over_limit
    assert await world.left("user") == 10
    assert (await world.ask(a("free", override=Rate.of(0, Unit.DAY)))).over_limit


async def test_a_change_of_the_rules_counts_at_once() -> None:
    files = {"api.yaml": FILE}
    limiter = DescriptorLimiter(buckets=InMemoryBucketStore(lambda: 0), domains=lambda: read_domains(files))
    await limiter.ask("api", [a("address", hits=2)])
    files["api.yaml"] = FILE.replace("key: address, rate_limit: {unit: minute", "key: address, rate_limit: {unit: day")
    (status,) = (await limiter.ask("api", [a("address")])).statuses
    assert status.holding
    assert status.holding.remaining == 0
    del files["api.yaml"]
    with pytest.raises(ShoalError):
        await limiter.ask("api", [a("address")])


@pytest.mark.parametrize(
    ("domain", "descriptors", "field"),
    [
        ("", [a("user")], "domain"),
        ("apis", [a("user")], "domain"),
        ("shoal", [a("user")], "domain"),
        ("api", [a("user"), Descriptor((Entry("", b"x"),))], "descriptors"),
    ],
)
async def test_a_question_without_sense_is_refused_and_costs_nothing(
    world: World, domain: str, descriptors: list[Descriptor], field: str
) -> None:
    with pytest.raises(ShoalError) as refused:
        await world.ask(*descriptors, domain=domain)
    assert (refused.value.reason, refused.value.field) == (Reason.FIELD_INVALID, field)
    assert await world.left("user") == 10


async def test_nothing_is_read_of_a_question_about_an_unknown_domain(world: World) -> None:
    descriptors = iter([a("user")])
    with pytest.raises(ShoalError):
        await world.limiter.ask("apis", descriptors)
    assert list(descriptors) == [a("user")]


async def test_a_hundred_descriptors_are_answered(world: World) -> None:
    answer = await world.ask(*(a("user", str(number)) for number in range(100)))
    assert over(answer) == [False] * 100


class OneOfThree:
    """A store that decides from a third of every bucket, as in an outage. Time stands still."""

    def __init__(self) -> None:
        self._local = LocalBuckets()

    async def take(self, spends: Sequence[Spend]) -> Decision:
        return self._local.take(spends, now=0, sharers=3)


async def test_a_look_into_the_share_of_a_bucket_is_told_to_come_back_later_if_it_is_empty() -> None:
    limiter = DescriptorLimiter(buckets=OneOfThree(), domains=lambda: read_domains({"api.yaml": FILE}))
    for _ in range(3):
        assert not (await limiter.ask("api", [a("user")])).over_limit
    look = await limiter.ask("api", [a("user", hits=0)])
    assert look.over_limit
    assert look.retry_after_micros is not None
    assert look.retry_after_micros > 0


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_is_asked_either_all_hits_are_taken_or_none(world: World, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a repeatable history is wanted, not a secret
    buckets = [("user", "a"), ("user", "b"), ("address", "a"), ("address", "b")]
    capacities = {"user": 10, "address": 3}
    passed = 0
    for _ in range(40):
        asked = [(*chance.choice(buckets), chance.choice([-2, 0, 1, 1, 2, 3, 11])) for _ in range(chance.randint(1, 4))]
        before = {bucket: await world.left(*bucket) for bucket in buckets}
        answer = await world.ask(*(a(key, value, hits=hits) for key, value, hits in asked))
        after = {bucket: await world.left(*bucket) for bucket in buckets}
        if answer.over_limit:
            assert after == before
            continue
        passed += 1
        for key, value in buckets:
            hits = sum(each[2] for each in asked if each[:2] == (key, value))
            assert after[key, value] == min(capacities[key], before[key, value] - hits)
            assert after[key, value] >= 0
    assert 0 < passed < 40
