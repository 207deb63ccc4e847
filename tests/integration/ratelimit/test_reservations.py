"""Reserve, Renew, Settle and the whole of Peek, by callers inside the mesh."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from meshkit.errors import Code, Reason
from meshkit.identity import Authentication, Identity
from shoal.ratelimit.v1 import ratelimit_pb2 as pb
from tests.backends import running_valkey, wait_until
from tests.integration.ratelimit.ratelimit_process import (
    TIMEOUT_SECONDS,
    RatelimitProcess,
    caller,
    environ,
    make_tables,
    mesh_caller,
    started,
)
from tests.mesh_identity import metadata_of
from tests.refusal import refusal

# So slow that no token comes back while a test runs.
LIMITS = """
tiers:
  free:
    model_tokens: {per_minute: 1, burst: 1000}
    concurrent: {calls: 2}
  premium:
    model_tokens: {per_minute: 1, burst: 1000, shadow: true}
"""
UNMETERED = "anonymous"
MINUTE = Duration(seconds=60)
IN_TIME_SECONDS = 5.0
"""Much longer than an answer may take without Redis, and much shorter than a hang."""


@contextmanager
def metered_limiter(folder: Path, redis_url: str) -> Iterator[RatelimitProcess]:
    limits_file = folder / "limits.yaml"
    limits_file.write_text(LIMITS)
    settings = environ(folder, redis_url=redis_url) | {"SHOAL_LIMITS_FILE": str(limits_file)}
    make_tables(settings)
    with started(settings) as process:
        yield process


@pytest.fixture(scope="module")
def metered(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RatelimitProcess]:
    with metered_limiter(tmp_path_factory.mktemp("ratelimit"), valkey_url) as process:
        yield process


@pytest.fixture
def identity() -> Identity:
    """A caller of the tier free, with limits that no other test uses up."""
    return caller(secrets.token_hex(8))


async def call(
    limiter: RatelimitProcess, method: str, request: Any, identity: Identity, *, timeout: float = TIMEOUT_SECONDS
) -> Any:
    async with mesh_caller(limiter.address) as stub:
        return await getattr(stub, method)(request, metadata=metadata_of(identity), timeout=timeout)


async def reserve(limiter: RatelimitProcess, identity: Identity, name: str, tokens: int = 0) -> pb.ReserveResponse:
    request = pb.ReserveRequest(reservation_id=name, tokens=tokens, ttl=MINUTE)
    response: pb.ReserveResponse = await call(limiter, "Reserve", request, identity)
    return response


async def settle(limiter: RatelimitProcess, identity: Identity, name: str, used: int) -> pb.SettleResponse:
    request = pb.SettleRequest(reservation_id=name, used_tokens=used)
    response: pb.SettleResponse = await call(limiter, "Settle", request, identity)
    return response


async def peek(limiter: RatelimitProcess, identity: Identity) -> pb.PeekResponse:
    response: pb.PeekResponse = await call(limiter, "Peek", pb.PeekRequest(), identity)
    return response


async def test_tokens_and_a_place_are_reserved_and_settled(metered: RatelimitProcess, identity: Identity) -> None:
    reserved = await reserve(metered, identity, "a", 600)
    assert reserved.granted
    assert not reserved.HasField("retry_after")
    assert (reserved.model_tokens.tier, reserved.model_tokens.capacity, reserved.model_tokens.remaining) == (
        "free",
        1000,
        400,
    )
    assert (reserved.places.capacity, reserved.places.taken) == (2, 1)
    settled = await settle(metered, identity, "a", 250)
    assert (settled.counted, settled.model_tokens.remaining) == (True, 750)
    again = await settle(metered, identity, "a", 250)
    assert (again.counted, again.model_tokens.remaining) == (False, 750)


async def test_a_refusal_says_when_tokens_come_back_and_cannot_say_it_of_places(
    metered: RatelimitProcess, identity: Identity
) -> None:
    await reserve(metered, identity, "a", 995)
    too_many = await reserve(metered, identity, "b", 6)
    assert not too_many.granted
    assert 0 < too_many.retry_after.ToMilliseconds() <= 60_000
    await reserve(metered, identity, "c")
    no_place = await reserve(metered, identity, "d")
    assert not no_place.granted
    assert not no_place.HasField("retry_after")
    assert no_place.places.taken == 2


async def test_a_reservation_can_be_renewed_while_it_is_there(metered: RatelimitProcess, identity: Identity) -> None:
    await reserve(metered, identity, "a")
    renewal = pb.RenewRequest(reservation_id="a", ttl=MINUTE)
    assert (await call(metered, "Renew", renewal, identity)).renewed
    await settle(metered, identity, "a", 0)
    assert not (await call(metered, "Renew", renewal, identity)).renewed


async def test_peek_shows_all_kinds_of_limits_and_costs_nothing(metered: RatelimitProcess, identity: Identity) -> None:
    await reserve(metered, identity, "a", 100)
    for _ in range(3):
        seen = await peek(metered, identity)
        assert (seen.bucket.remaining, seen.model_tokens.remaining, seen.places.taken) == (10, 900, 1)


async def test_who_has_no_such_limits_is_granted_everything(metered: RatelimitProcess) -> None:
    someone = caller(secrets.token_hex(8), tier=UNMETERED, authentication=Authentication.ANONYMOUS)
    assert await reserve(metered, someone, "a", 2**32 - 1) == pb.ReserveResponse(granted=True)
    assert await settle(metered, someone, "a", 2**32 - 1) == pb.SettleResponse(counted=True)
    seen = await peek(metered, someone)
    assert not seen.HasField("model_tokens")
    assert not seen.HasField("places")


async def test_a_shadow_grants_what_it_would_have_refused_and_counts_it(metered: RatelimitProcess) -> None:
    someone = caller(secrets.token_hex(8), tier="premium")
    granted = await reserve(metered, someone, "a", 5000)
    assert granted.granted
    assert not granted.HasField("retry_after")
    sample = 'shoal_ratelimit_shadow_refusals_total{kind="model_tokens",limit="premium"}'
    assert metered.metrics()[sample] == 1


@pytest.mark.parametrize("tokens", [1001, 2**32 - 1])
async def test_tokens_that_can_never_be_there_are_refused_for_good(
    metered: RatelimitProcess, identity: Identity, tokens: int
) -> None:
    error = await refusal(reserve(metered, identity, "a", tokens))
    assert (error.reason, error.code, error.field) == (Reason.COST_ABOVE_CAPACITY, Code.INVALID_ARGUMENT, "tokens")
    assert error.retry_after_seconds is None


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "a\n", "a\0", "a:b", "ä"])  # fmt: skip
async def test_a_name_that_cannot_be_is_refused(metered: RatelimitProcess, identity: Identity, name: str) -> None:
    requests = {
        "Reserve": pb.ReserveRequest(reservation_id=name, ttl=MINUTE),
        "Renew": pb.RenewRequest(reservation_id=name, ttl=MINUTE),
        "Settle": pb.SettleRequest(reservation_id=name),
    }
    for method, request in requests.items():
        error = await refusal(call(metered, method, request, identity))
        assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "reservation_id")


@pytest.mark.parametrize(
    "ttl",
    [
        None,
        Duration(),
        Duration(seconds=-60),
        Duration(nanos=999_999_999),
        Duration(seconds=3600, nanos=1_000),
        Duration(seconds=2**63 - 1),
    ],
)
async def test_a_time_to_live_that_cannot_be_is_refused(
    metered: RatelimitProcess, identity: Identity, ttl: Duration | None
) -> None:
    requests = {
        "Reserve": pb.ReserveRequest(reservation_id="a", ttl=ttl),
        "Renew": pb.RenewRequest(reservation_id="a", ttl=ttl),
    }
    for method, request in requests.items():
        error = await refusal(call(metered, method, request, identity))
        assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "ttl")


async def test_more_tokens_than_can_be_counted_are_refused(metered: RatelimitProcess, identity: Identity) -> None:
    reserved = await refusal(reserve(metered, identity, "a", 2**64 - 1))
    assert (reserved.code, reserved.field) == (Code.INVALID_ARGUMENT, "tokens")
    settled = await refusal(settle(metered, identity, "a", 2**64 - 1))
    assert (settled.code, settled.field) == (Code.INVALID_ARGUMENT, "used_tokens")


async def test_a_settled_name_is_refused(metered: RatelimitProcess, identity: Identity) -> None:
    await reserve(metered, identity, "a")
    await settle(metered, identity, "a", 0)
    error = await refusal(reserve(metered, identity, "a"))
    assert (error.reason, error.field) == (Reason.FIELD_INVALID, "reservation_id")


def _degraded(limiter: RatelimitProcess) -> float:
    return limiter.metrics()["shoal_ratelimit_degraded"]


def _outages(limiter: RatelimitProcess) -> list[dict[str, Any]]:
    lines = limiter.log_lines("cannot be used: check that it runs, and its setting")
    return [line for line in lines if line["needed"] == "Redis for limits"]


@pytest.mark.parametrize("fault", ["killed", "paused"])
async def test_without_redis_nothing_is_reserved_or_settled_and_nobody_waits_for_it(
    tmp_path: Path, identity: Identity, fault: str
) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(running_valkey(tmp_path))
        limiter = await asyncio.to_thread(stack.enter_context, metered_limiter(tmp_path, server.url))
        await asyncio.to_thread(wait_until, lambda: _degraded(limiter) == 0, "the use of Redis")
        lines_before = len(_outages(limiter))
        await reserve(limiter, identity, "a", 600)
        await asyncio.to_thread(server.kill if fault == "killed" else server.pause)
        requests = {
            "Reserve": pb.ReserveRequest(reservation_id="b", ttl=MINUTE),
            "Renew": pb.RenewRequest(reservation_id="a", ttl=MINUTE),
            "Settle": pb.SettleRequest(reservation_id="a", used_tokens=100),
        }
        for method, request in (*requests.items(), *requests.items()):
            error = await refusal(call(limiter, method, request, identity, timeout=IN_TIME_SECONDS))
            assert error.reason is Reason.LIMITER_UNAVAILABLE
        await asyncio.to_thread(wait_until, lambda: _degraded(limiter) == 1, "the notice of the outage")
        assert len(_outages(limiter)) == lines_before + 1
        await asyncio.to_thread(server.start if fault == "killed" else server.resume)
        await asyncio.to_thread(wait_until, lambda: _degraded(limiter) == 0, "the recovery")
        # What was used is charged, once: if Redis has forgotten what was reserved, and also if it carries out now what
        # it was asked before.
        assert (await settle(limiter, identity, "a", 100)).model_tokens.remaining == 900
