"""Whom and what the cache refuses, and that it names what is wrong."""

import math
from collections.abc import Awaitable, Callable, Sequence

import pytest

from meshkit.errors import Reason
from meshkit.identity import Authentication
from shoal.cache.v1 import cache_pb2
from tests.integration.cache.cache_process import CacheProcess
from tests.integration.cache.caller import OPERATOR, Caller, append, begin, end
from tests.mesh_identity import FORGER, signed
from tests.refusal import refusal

KEY = "ab" * 32
EVERYTHING = cache_pb2.InvalidateRequest(everything=True)

CALLS: dict[str, Callable[[Caller], Awaitable[object]]] = {
    "Open": lambda caller: caller.open(KEY),
    "Publish": lambda caller: caller.publish_unfinished(),
    "Get": lambda caller: caller.get(KEY),
    "Invalidate": lambda caller: caller.invalidate(EVERYTHING),
    "Stats": lambda caller: caller.stats(),
}
CALLERS: dict[str, tuple[Sequence[tuple[str, str]], Reason]] = {
    "unsigned": ((), Reason.IDENTITY_INVALID),
    "forged": (signed("acme", signer=FORGER), Reason.IDENTITY_INVALID),
    "signed twice": (signed("acme") + signed("rival"), Reason.IDENTITY_INVALID),
    "unknown key": (signed("acme", authentication=Authentication.UNKNOWN_KEY), Reason.API_KEY_INVALID),
    "missing key": (signed("acme", authentication=Authentication.MISSING_KEY), Reason.API_KEY_REQUIRED),
    "several keys": (signed("acme", authentication=Authentication.SEVERAL_KEYS), Reason.API_KEY_AMBIGUOUS),
}


@pytest.mark.parametrize("rpc", CALLS)
@pytest.mark.parametrize("kind", CALLERS)
async def test_a_caller_who_is_not_good_is_refused_by_every_rpc(cache: CacheProcess, rpc: str, kind: str) -> None:
    metadata, reason = CALLERS[kind]
    async with Caller(cache, metadata) as caller:
        assert (await refusal(CALLS[rpc](caller))).reason is reason


def test_there_is_a_refusal_test_for_every_rpc() -> None:
    assert set(CALLS) == set(cache_pb2.DESCRIPTOR.services_by_name["CacheService"].methods_by_name)


@pytest.mark.parametrize("key", ["", "ab", "x" * 64, KEY + "0", f"../rival/{KEY}"])
async def test_a_key_of_another_form_is_named(acme: Caller, key: str) -> None:
    invalidation = cache_pb2.InvalidateRequest(key=key)
    for answer in (
        acme.open(key),
        acme.publish_unfinished(begin(key)),
        acme.get(key),
        acme.invalidate(invalidation),
    ):
        error = await refusal(answer)
        assert (error.code, error.field) == ("INVALID_ARGUMENT", "key")


async def test_a_whole_of_another_form_is_named(acme: Caller) -> None:
    error = await refusal(acme.open(KEY, part_of="x" * 64))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "part_of")
    error = await refusal(acme.open(KEY, tags=["rival/news"]))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "tags")


@pytest.mark.parametrize("policy", [cache_pb2.POLICY_UNSPECIFIED, 99])
async def test_a_policy_that_is_none_is_named(acme: Caller, policy: cache_pb2.Policy.ValueType) -> None:
    for answer in (acme.open(KEY, policy), acme.publish_unfinished(begin(KEY, policy)), acme.get(KEY, policy)):
        error = await refusal(answer)
        assert (error.code, error.field) == ("INVALID_ARGUMENT", "policy")


@pytest.mark.parametrize(
    ("first", "field"),
    [
        (begin(KEY, tags=[f"{number}" for number in range(17)]), "tags"),
        (begin(KEY, tags=["rival/news"]), "tags"),
        (begin(KEY, tags=[""]), "tags"),
        (begin(KEY, ttl_seconds=0), "ttl_seconds"),
        (begin(KEY, ttl_seconds=604_801), "ttl_seconds"),
    ],
)
async def test_terms_that_cannot_be_are_named_at_once(
    acme: Caller, first: cache_pb2.PublishRequest, field: str
) -> None:
    error = await refusal(acme.publish_unfinished(first))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", field)


@pytest.mark.parametrize("cost_usd", [-1, math.nan, math.inf])
async def test_a_worth_that_cannot_be_is_named_and_nothing_is_stored(acme: Caller, key: str, cost_usd: float) -> None:
    error = await refusal(acme.keep(key, b"answer", worth=cache_pb2.Worth(cost_usd=cost_usd)))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "worth.cost_usd")
    assert not await acme.finds(key)


@pytest.mark.parametrize(
    ("steps", "field"),
    [
        ([append(b"event")], "begin"),
        ([end()], "begin"),
        ([cache_pb2.PublishRequest()], "begin"),
        ([begin(KEY), append(b"event"), begin(KEY)], "begin"),
        ([begin(KEY), cache_pb2.PublishRequest()], "step"),
        ([begin(KEY), append(b"event"), end(), append(b"more")], "end"),
        ([begin(KEY), append(b"event"), end(), end()], "end"),
    ],
)
async def test_a_step_in_the_wrong_order_is_named(
    acme: Caller, steps: list[cache_pb2.PublishRequest], field: str
) -> None:
    error = await refusal(acme.publish_unfinished(*steps))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", field)


async def test_a_call_that_ends_without_its_last_step_stores_nothing(acme: Caller, key: str) -> None:
    first = begin(key, lead=await acme.lead(key))
    for steps, field in (([], "begin"), ([first, append(b"event")], "end")):
        error = await refusal(acme.publish(steps))
        assert (error.code, error.field) == ("INVALID_ARGUMENT", field)
    assert not await acme.finds(key)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (cache_pb2.InvalidateRequest(), "what"),
        (cache_pb2.InvalidateRequest(everything=False), "everything"),
        (cache_pb2.InvalidateRequest(tag="no tag"), "tag"),
    ],
)
async def test_what_is_invalidated_has_to_be_said(
    acme: Caller, request_: cache_pb2.InvalidateRequest, field: str
) -> None:
    error = await refusal(acme.invalidate(request_))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", field)


async def test_nobody_but_the_operator_names_another_tenant(cache: CacheProcess, acme: Caller, key: str) -> None:
    await acme.keep(key, b"answer")
    for authentication in (Authentication.API_KEY, Authentication.ANONYMOUS, Authentication.UNCHECKED):
        async with Caller(cache, signed("rival", authentication=authentication)) as rival:
            for answer in (
                rival.get(key, tenant="acme"),
                rival.invalidate(cache_pb2.InvalidateRequest(tenant="acme", everything=True)),
            ):
                error = await refusal(answer)
                assert (error.code, error.field) == ("PERMISSION_DENIED", "tenant")
    assert await acme.finds(key)
    assert (await acme.get(key, tenant="acme")).entries


async def test_the_operator_names_whose_answers_it_means(cache: CacheProcess, acme: Caller, key: str) -> None:
    await acme.keep(key, b"answer", tags=["news"], worth=cache_pb2.Worth(output_tokens=3))
    async with Caller(cache, OPERATOR) as operator:
        shown = (await operator.get(key, tenant="acme")).entries[0]
        assert (shown.level, list(shown.events), list(shown.tags)) == ("l1", [b"answer"], ["news"])
        assert (shown.worth.output_tokens, shown.invalidated) == (3, False)
        for answer in (operator.get(key), operator.invalidate(EVERYTHING)):
            assert (await refusal(answer)).field == "tenant"
        await operator.invalidate(cache_pb2.InvalidateRequest(tenant="acme", key=key))
        assert (await operator.get(key, tenant="acme")).entries[0].invalidated
        assert (await operator.stats()).replica == "cache-1"
    assert not await acme.finds(key)
