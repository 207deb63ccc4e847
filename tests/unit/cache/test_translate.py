"""From the cache's protocol to its nouns, and back."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.errors import Reason, ShoalError
from meshkit.identity import Authentication, Identity
from services.cache import translate
from services.cache.answers import Hit, Inspection, Lead, Shown, Terms
from services.cache.counts import new_counts
from services.cache.entry import Entry, Worth
from services.cache.events import Events
from services.cache.generations.scopes import key_scope
from services.cache.levels.level import Holdings
from services.cache.place import ALONE, Place, Whole
from services.cache.policies import DEFAULT_POLICIES, LevelName, PolicyName
from services.cache.statistics import Statistics
from services.cache.ttl_tuning import TunedTtl
from shoal.cache.v1 import cache_pb2 as pb

NOW = 1_700_000_000.0
KEY = "0123456789abcdef" * 4
ENTRY = Entry(
    events=Events.of([b"one", b"two"]),
    created=NOW - 5,
    ttl_seconds=60,
    stale_seconds=30,
    generation=7,
    tags=("news",),
    worth=Worth(3, 4, 0.5),
)


def refusal(call: Callable[[], object]) -> ShoalError:
    with pytest.raises(ShoalError) as raised:
        call()
    return raised.value


def caller(authentication: Authentication = Authentication.API_KEY) -> Identity:
    return Identity("acme", "premium", "key_1", authentication, NOW)


def test_every_policy_of_the_proto_has_its_name() -> None:
    values = [value for value in pb.Policy.values() if value != pb.POLICY_UNSPECIFIED]
    assert [translate.place("acme", value, KEY).policy for value in values] == list(PolicyName)


@pytest.mark.parametrize("value", [pb.POLICY_UNSPECIFIED, 99, -1])
def test_a_policy_that_is_none_is_named(value: pb.Policy.ValueType) -> None:
    error = refusal(lambda: translate.place("acme", value, KEY))
    assert (error.reason, error.field) == (Reason.FIELD_INVALID, "policy")


def test_the_case_of_a_key_does_not_matter() -> None:
    assert translate.place("acme", pb.POLICY_RESPONSE, KEY.upper()) == Place("acme", PolicyName.RESPONSE, KEY)
    assert translate.whole(pb.OpenRequest(part_of=KEY.upper())).key == KEY
    scopes = {translate.scope("acme", pb.InvalidateRequest(key=key)) for key in (KEY, KEY.upper())}
    assert scopes == {key_scope("acme", KEY)}


OTHER_FORMS = [KEY[1:], KEY + "0", "g" + KEY[1:], KEY + "\n", "\u0660" * 64, "../other/response/" + KEY]


@pytest.mark.parametrize("key", ["", *OTHER_FORMS])
def test_a_key_of_another_form_is_named(key: str) -> None:
    error = refusal(lambda: translate.place("acme", pb.POLICY_RESPONSE, key))
    assert (error.reason, error.field) == (Reason.FIELD_INVALID, "key")
    assert refusal(lambda: translate.scope("acme", pb.InvalidateRequest(key=key))).field == "key"


@pytest.mark.parametrize("key", OTHER_FORMS)
def test_the_whole_is_named_by_a_key_or_not_at_all(key: str) -> None:
    assert translate.whole(pb.OpenRequest(key=KEY)) == ALONE
    assert refusal(lambda: translate.whole(pb.OpenRequest(part_of=key))).field == "part_of"


def test_the_whole_comes_with_its_tags_and_its_generation() -> None:
    request = pb.OpenRequest(part_of=KEY, tags=["b", "a", "b"], generation=7)
    assert translate.whole(request) == Whole(KEY, tags=("b", "a"), generation=7)


def test_terms_come_as_they_are_said() -> None:
    begin = pb.PublishBegin(generation=7, tags=["b", "a", "b"], ttl_seconds=60)
    assert translate.terms(begin) == Terms(generation=7, tags=("b", "a"), ttl_seconds=60)
    assert translate.terms(pb.PublishBegin()) == Terms(generation=0)


@pytest.mark.parametrize("tags", [["a" * 64], ["A.z_0:-9"], [f"{number}" for number in range(16)]])
def test_tags_of_the_form_are_taken(tags: list[str]) -> None:
    assert translate.terms(pb.PublishBegin(tags=tags)).tags == tuple(tags)


@pytest.mark.parametrize(
    "tags", [[""], ["a" * 65], ["a b"], ["a/b"], ["a\n"], ["é"], ["fine", ""], [f"{number}" for number in range(17)]]
)
def test_tags_of_another_form_and_too_many_are_named(tags: list[str]) -> None:
    assert refusal(lambda: translate.terms(pb.PublishBegin(tags=tags))).field == "tags"
    assert refusal(lambda: translate.whole(pb.OpenRequest(tags=tags))).field == "tags"


@pytest.mark.parametrize("seconds", [0, 604_801, 2**32 - 1])
def test_a_time_to_live_out_of_bounds_is_named(seconds: int) -> None:
    assert refusal(lambda: translate.terms(pb.PublishBegin(ttl_seconds=seconds))).field == "ttl_seconds"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.Worth(cost_usd=-0.01), "worth.cost_usd"),
        (pb.Worth(cost_usd=math.nan), "worth.cost_usd"),
        (pb.Worth(cost_usd=math.inf), "worth.cost_usd"),
        (pb.Worth(input_tokens=2**64 - 1), "worth.input_tokens"),
        (pb.Worth(output_tokens=10**9 + 1), "worth.output_tokens"),
    ],
)
def test_a_worth_that_cannot_be_is_named(message: pb.Worth, field: str) -> None:
    assert refusal(lambda: translate.worth(message)).field == field


def test_a_worth_comes_as_it_is_said() -> None:
    assert translate.worth(pb.Worth(input_tokens=3, output_tokens=4, cost_usd=0.5)) == Worth(3, 4, 0.5)


def test_a_caller_means_its_own_answers() -> None:
    assert translate.tenant(caller(), "") == translate.tenant(caller(), "acme") == "acme"


@pytest.mark.parametrize("authentication", set(Authentication) - {Authentication.OPERATOR})
def test_nobody_but_the_operator_names_another_tenant(authentication: Authentication) -> None:
    error = refusal(lambda: translate.tenant(caller(authentication), "rival"))
    assert (error.reason, error.field) == (Reason.PERMISSION_DENIED, "tenant")


def test_the_operator_names_whose_answers_are_meant() -> None:
    operator = caller(Authentication.OPERATOR)
    assert translate.tenant(operator, "rival") == "rival"
    assert refusal(lambda: translate.tenant(operator, "")).reason is Reason.FIELD_REQUIRED


@pytest.mark.parametrize("named", ["acme\0", "a" * (translate.LONGEST_TENANT + 1)])
def test_what_can_be_no_tenant_is_refused_before_a_database_is_asked(named: str) -> None:
    error = refusal(lambda: translate.tenant(caller(Authentication.OPERATOR), named))
    assert (error.reason, error.field) == (Reason.FIELD_INVALID, "tenant")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.InvalidateRequest(), "what"),
        (pb.InvalidateRequest(everything=False), "everything"),
        (pb.InvalidateRequest(tag=""), "tag"),
        (pb.InvalidateRequest(tag="a/b"), "tag"),
    ],
)
def test_what_is_invalidated_has_to_be_said(request_: pb.InvalidateRequest, field: str) -> None:
    assert refusal(lambda: translate.scope("acme", request_)).field == field


@given(
    tenants=st.tuples(st.text(), st.text()),
    tags=st.tuples(*[st.from_regex("[A-Za-z0-9._:-]{1,64}", fullmatch=True)] * 2),
)
def test_no_two_things_to_invalidate_are_the_same(tenants: tuple[str, str], tags: tuple[str, str]) -> None:
    scopes = [
        translate.scope(tenant, request)
        for tenant in dict.fromkeys(tenants)
        for request in (
            *(pb.InvalidateRequest(tag=tag) for tag in dict.fromkeys(tags)),
            pb.InvalidateRequest(key=KEY),
            pb.InvalidateRequest(everything=True),
        )
    ]
    assert len(set(scopes)) == len(scopes)


@pytest.mark.parametrize("anew", [False, True])
def test_a_lead_carries_its_generation_and_whether_all_is_to_be_computed_anew(anew: bool) -> None:
    assert translate.open_response(Lead(7, anew), NOW) == pb.OpenResponse(lead=pb.Lead(generation=7, anew=anew))


@pytest.mark.parametrize("renewal", [None, Lead(0), Lead(9)])
def test_a_hit_tells_all_about_the_answer(renewal: Lead | None) -> None:
    hit = pb.Hit(events=[b"one", b"two"], level="l2", age_seconds=5, ttl_seconds=60, stale_seconds=30)
    if renewal:
        hit.renewal.CopyFrom(pb.Lead(generation=renewal.generation))
    response = translate.open_response(Hit(ENTRY, LevelName.L2, renewal), NOW)
    assert response == pb.OpenResponse(hit=hit)
    assert response.hit.HasField("renewal") == (renewal is not None)


def test_a_hit_on_an_empty_answer_is_a_hit() -> None:
    empty = Entry(events=Events.of([]), created=NOW, ttl_seconds=1)
    assert translate.open_response(Hit(empty, LevelName.L1), NOW).WhichOneof("outcome") == "hit"


def test_what_became_of_an_answer_is_told() -> None:
    assert translate.publish_response(None, 14) == pb.PublishResponse(size_bytes=14)
    assert translate.publish_response(ENTRY, 14) == pb.PublishResponse(
        stored=True, size_bytes=14, ttl_seconds=60, stale_seconds=30
    )


def test_an_inspection_shows_everything() -> None:
    inspection = Inspection((Shown(ENTRY, LevelName.L2, is_invalidated=True),), (LevelName.L3,))
    stored = pb.StoredEntry(
        level="l2",
        events=[b"one", b"two"],
        size_bytes=10,
        age_seconds=5,
        ttl_seconds=60,
        stale_seconds=30,
        tags=["news"],
        generation=7,
        invalidated=True,
        worth=pb.Worth(input_tokens=3, output_tokens=4, cost_usd=0.5),
    )
    assert translate.get_response(inspection, NOW) == pb.GetResponse(entries=[stored], failed_levels=["l3"])


def test_stats_tell_levels_in_sum_and_by_policy() -> None:
    counts = new_counts(DEFAULT_POLICIES.values())
    for name, hits in ((PolicyName.RESPONSE, 2), (PolicyName.TOOL_RESULT, 3)):
        counts[name].levels[LevelName.L1].hits = hits
        counts[name].levels[LevelName.L1].corrupt = 1
    for _ in range(2):
        counts[PolicyName.RESPONSE].count_hit(Worth(3, 4, 0.5), is_stale=True)
    held = {LevelName.L1: Holdings(entries=4, size_bytes=5, evictions=6), LevelName.L2: None}
    ttls = {name: TunedTtl(policy, target_hit_rate=0.7) for name, policy in DEFAULT_POLICIES.items()}
    statistics = Statistics(counts=counts, holdings=lambda: held, ttls=ttls)
    response = translate.stats_response(statistics, replica="cache-1")
    assert response.replica == "cache-1"
    assert list(response.levels) == [
        pb.LevelStats(level="l1", hits=5, corrupt=2, entries=4, size_bytes=5, evictions=6),
        pb.LevelStats(level="l2"),
    ]
    assert [policy.policy for policy in response.policies] == pb.Policy.values()[1:]
    assert response.policies[0] == pb.PolicyStats(
        policy=pb.POLICY_RESPONSE,
        hits=2,
        stale_hits=2,
        levels=[pb.LevelStats(level="l1", hits=2, corrupt=1), pb.LevelStats(level="l2")],
        saved=pb.Worth(input_tokens=6, output_tokens=8, cost_usd=1.0),
        ttl_seconds=3600,
    )
