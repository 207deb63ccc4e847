"""Whom and what the cache refuses, and that it names what is wrong."""

from collections.abc import Awaitable, Callable, Sequence

import grpc
import pytest

from meshkit import status
from meshkit.errors import Reason, ShoalError
from meshkit.identity import Authentication
from shoal.cache.v1 import cache_pb2
from tests.integration.cache.cache_process import CacheProcess, Caller, append, begin, end, signed

KEY = "ab" * 32


async def refusal(answer: Awaitable[object]) -> ShoalError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await answer
    return status.from_rpc_error(raised.value)


CALLS: dict[str, Callable[[Caller], Awaitable[object]]] = {
    "Open": lambda caller: caller.open(KEY),
    "Publish": lambda caller: caller.publish_unfinished(),
    "Stats": lambda caller: caller.stats(),
}
CALLERS: dict[str, tuple[Sequence[tuple[str, str]], Reason]] = {
    "unsigned": ((), Reason.IDENTITY_INVALID),
    "forged": (signed("acme", secret=b"a secret that is not that of this mesh"), Reason.IDENTITY_INVALID),
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
    async with Caller(cache, signed("acme")) as acme:
        assert (await acme.open(KEY)).HasField("lead")


def test_there_is_a_refusal_test_for_every_rpc() -> None:
    assert set(CALLS) == set(cache_pb2.DESCRIPTOR.services_by_name["CacheService"].methods_by_name)


@pytest.mark.parametrize("key", ["", "ab", "x" * 64, KEY + "0", f"../rival/{KEY}"])
async def test_a_key_of_another_form_is_named(acme: Caller, key: str) -> None:
    for answer in (acme.open(key), acme.publish_unfinished(begin(key))):
        error = await refusal(answer)
        assert (error.code, error.field) == ("INVALID_ARGUMENT", "key")


@pytest.mark.parametrize("policy", [cache_pb2.POLICY_UNSPECIFIED, 99])
async def test_a_policy_that_is_none_is_named(acme: Caller, policy: cache_pb2.Policy.ValueType) -> None:
    for answer in (acme.open(KEY, policy), acme.publish_unfinished(begin(KEY, policy))):
        error = await refusal(answer)
        assert (error.code, error.field) == ("INVALID_ARGUMENT", "policy")


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
async def test_a_step_in_the_wrong_order_is_named_and_nothing_is_stored(
    acme: Caller, steps: list[cache_pb2.PublishRequest], field: str
) -> None:
    error = await refusal(acme.publish_unfinished(*steps))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", field)
    assert (await acme.open(KEY)).HasField("lead")


@pytest.mark.parametrize(("steps", "field"), [([], "begin"), ([begin(KEY), append(b"event")], "end")])
async def test_a_call_that_ends_without_its_last_step_stores_nothing(
    acme: Caller, steps: list[cache_pb2.PublishRequest], field: str
) -> None:
    error = await refusal(acme.publish(steps))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", field)
    assert (await acme.open(KEY)).HasField("lead")
