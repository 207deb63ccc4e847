"""Which turns are repeated, to whom, and what is said of them."""

from typing import Any

import pytest

from meshkit.identity import Authentication, Identity
from meshkit.metrics import Metrics, NearHits
from meshkit.near_cache import NearCache
from meshkit.near_turns import NearTurns
from shoal.agent.v1 import agent_pb2 as pb

KEY = "ab" * 32
NOW = 1_700_000_000.5

HIT = pb.CacheReport(
    status=pb.CACHE_STATUS_HIT, level="l1", age_seconds=10, key=KEY, ttl_seconds=3600, stale_seconds=60
)
MISS = pb.CacheReport(status=pb.CACHE_STATUS_MISS, key=KEY, ttl_seconds=3600)


def caller(
    tenant: str = "acme", key_id: str = "key_1", authentication: Authentication = Authentication.API_KEY
) -> Identity:
    return Identity(tenant, "premium", key_id, authentication, NOW + 100)


def turn(mode: "pb.CacheMode.ValueType" = pb.CACHE_MODE_DEFAULT, **fields: Any) -> pb.ExecuteRequest:
    control = {name: fields.pop(name) for name in ("tags", "public", "ttl_seconds") if name in fields}
    cache = pb.CacheControl(mode=mode, **control)
    return pb.ExecuteRequest(**{"task": "Say hello.", "model": "small", **fields}, cache=cache)


def answer(report: pb.CacheReport = HIT) -> pb.ExecuteResponse:
    usage = pb.Usage(input_tokens=7, output_tokens=3)
    return pb.ExecuteResponse(id="turn_1", output="Hello.", model="small", replica="agent-1", usage=usage, cache=report)


def near_turns(metrics: Metrics | None = None) -> NearTurns:
    """Each is repeated for half a second, and for a quarter of that to all who ask."""
    return NearTurns(
        NearCache(seconds=0.5),
        hits=NearHits(metrics or Metrics()),
        replica="gateway-1",
        mint_id=lambda: "turn_2",
        clock=lambda: NOW,
    )


def knowing(asked: pb.ExecuteRequest, report: pb.CacheReport = HIT, by: Identity | None = None) -> NearTurns:
    """It was told at 100.0 what was asked."""
    near = near_turns()
    near.learn(asked, by or caller(), answer(report), asked_at=100.0)
    return near


def test_a_repeated_answer_says_what_the_first_one_said_and_where_it_comes_from() -> None:
    found = knowing(turn()).find(turn(), caller(), 100.25)
    assert found is not None
    assert (found.id, found.output, found.model, found.replica) == ("turn_2", "Hello.", "small", "gateway-1")
    assert found.created.ToNanoseconds() / 1e9 == NOW
    near = pb.CacheReport(
        status=pb.CACHE_STATUS_HIT, level="near", age_seconds=10.25, key=KEY, ttl_seconds=3600, stale_seconds=60
    )
    assert found.cache == near


def test_what_was_learned_is_not_changed_by_being_repeated() -> None:
    near = knowing(turn())
    ages = [found.cache.age_seconds for _ in range(2) if (found := near.find(turn(), caller(), 100.125))]
    assert ages == [10.125, 10.125]


@pytest.mark.parametrize(
    "other",
    [
        {"task": "Say goodbye."},
        {"model": "big"},
        {"sampling": pb.SamplingParameters(temperature=0.5)},
        {"tool_choice": "none"},
        {"tools": [pb.Tool(name="f")]},
        {"history": [pb.Message(role=pb.ROLE_SYSTEM, content="Be brief.")]},
        {"session_id": "s"},
        {"user_id": "u"},
        {"tags": ["prices"]},
        {"mode": pb.CACHE_MODE_BYPASS},
        {"mode": pb.CACHE_MODE_REFRESH},
        {"ttl_seconds": 60},
    ],
)
def test_who_asks_otherwise_is_not_given_it(other: dict[str, Any]) -> None:
    assert knowing(turn()).find(turn(**other), caller(), 100.1) is None


def test_the_order_of_the_context_does_not_matter() -> None:
    first, second = turn(), turn()
    first.context.update({"a": 1, "b": 2})
    second.context.update({"b": 2, "a": 1})
    near = knowing(first)
    assert near.find(second, caller(), 100.1) is not None
    assert near.find(turn(), caller(), 100.1) is None


@pytest.mark.parametrize("mode", [pb.CACHE_MODE_UNSPECIFIED, pb.CACHE_MODE_DEFAULT, pb.CACHE_MODE_ONLY])
def test_who_only_looks_up_is_given_it(mode: "pb.CacheMode.ValueType") -> None:
    assert knowing(turn()).find(turn(mode), caller(), 100.1) is not None


def test_tags_that_were_asked_with_too_do_not_matter_but_others_do() -> None:
    near = knowing(turn(tags=["prices", "en"]))
    assert near.find(turn(tags=["en"]), caller(), 100.1) is not None
    assert near.find(turn(), caller(), 100.1) is not None
    assert near.find(turn(tags=["en", "news"]), caller(), 100.1) is None


def test_whether_caches_may_share_it_says_the_one_who_asks() -> None:
    near = knowing(turn(public=True))
    told = [
        found.cache.public for public in (True, False) if (found := near.find(turn(public=public), caller(), 100.1))
    ]
    assert told == [True, False]


def test_another_tenant_is_not_given_it_and_another_key_of_the_same_is() -> None:
    near = knowing(turn())
    assert near.find(turn(), caller("other"), 100.1) is None
    assert near.find(turn(), caller(key_id="key_2"), 100.1) is not None


@pytest.mark.parametrize("authentication", set(Authentication) - {Authentication.API_KEY, Authentication.ANONYMOUS})
def test_callers_about_whom_nobody_knows_neither_teach_nor_learn(authentication: Authentication) -> None:
    unknown = caller(authentication=authentication)
    assert knowing(turn()).find(turn(), unknown, 100.1) is None
    assert knowing(turn(), by=unknown).find(turn(), caller(), 100.1) is None


def reported(**changes: Any) -> pb.CacheReport:
    report = pb.CacheReport()
    report.CopyFrom(HIT)
    for field, value in changes.items():
        setattr(report, field, value)
    return report


@pytest.mark.parametrize(
    "report",
    [
        MISS,
        pb.CacheReport(status=pb.CACHE_STATUS_BYPASS),
        reported(stale=True),
        reported(level="near"),
        reported(ttl_seconds=0),
        reported(ttl_seconds=10),
        reported(ttl_seconds=10.1),
    ],
)
def test_only_what_a_cache_found_is_repeated_and_only_while_it_is_fresh(report: pb.CacheReport) -> None:
    assert knowing(turn(), report).find(turn(), caller(), 100.125) is None


@pytest.mark.parametrize("asked", [turn(session_id="s"), turn(user_id="u"), turn(pb.CACHE_MODE_REFRESH)])
def test_turns_that_may_not_be_given_it_do_not_teach_it(asked: pb.ExecuteRequest) -> None:
    near = knowing(asked)
    assert near.find(turn(), caller(), 100.1) is None
    assert near.find(asked, caller(), 100.1) is None


def test_what_was_replaced_is_not_repeated_under_whichever_tags() -> None:
    near = knowing(turn(tags=["prices"]))
    near.forget(turn(pb.CACHE_MODE_REFRESH, tags=["en"], public=True), caller("other"), 100.1)
    assert near.find(turn(), caller(), 100.1) is not None
    near.forget(turn(pb.CACHE_MODE_REFRESH, tags=["en"], public=True), caller(), 100.1)
    assert near.find(turn(), caller(), 100.1) is None
    near.learn(turn(), caller(), answer(), asked_at=100.05)
    assert near.find(turn(), caller(), 100.1) is None, "it was asked for before it was replaced"


def test_what_a_repetition_saved_is_counted() -> None:
    metrics = Metrics()
    near = near_turns(metrics)
    near.learn(turn(), caller(), answer(), asked_at=100.0)
    near.find(turn(), caller(), 100.1)
    near.find(turn(task="Say goodbye."), caller(), 100.1)
    assert metrics.registry.get_sample_value("shoal_near_cache_hits_total") == 1
    assert metrics.registry.get_sample_value("shoal_near_cache_saved_tokens_total", {"kind": "output"}) == 3
