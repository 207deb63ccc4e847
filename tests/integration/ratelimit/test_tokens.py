"""Take and Peek, by callers inside the mesh."""

import secrets

import pytest

from meshkit.errors import Reason
from meshkit.identity import Authentication, Identity
from shoal.ratelimit.v1 import ratelimit_pb2 as pb
from tests.integration.ratelimit.ratelimit_process import (
    TIMEOUT_SECONDS,
    RatelimitProcess,
    ask,
    caller,
    create_key,
    mesh_caller,
)
from tests.mesh_identity import FORGER, metadata_of
from tests.refusal import refusal


@pytest.fixture
def identity() -> Identity:
    """A caller of the tier free, with a bucket that no other test uses."""
    return caller(secrets.token_hex(8))


async def take(limiter: RatelimitProcess, identity: Identity, cost: int) -> pb.TakeResponse:
    async with mesh_caller(limiter.address) as stub:
        return await stub.Take(pb.TakeRequest(cost=cost), metadata=metadata_of(identity), timeout=TIMEOUT_SECONDS)


async def peek(limiter: RatelimitProcess, identity: Identity) -> pb.Bucket:
    async with mesh_caller(limiter.address) as stub:
        return (await stub.Peek(pb.PeekRequest(), metadata=metadata_of(identity), timeout=TIMEOUT_SECONDS)).bucket


async def test_tokens_are_taken_all_or_none(limiter: RatelimitProcess, identity: Identity) -> None:
    taken = await take(limiter, identity, 7)
    assert taken.allowed
    assert not taken.HasField("retry_after")
    assert (taken.bucket.tier, taken.bucket.capacity, taken.bucket.remaining) == ("free", 10, 3)
    assert taken.bucket.rate_per_second == 0.001
    denied = await take(limiter, identity, 4)
    assert not denied.allowed
    assert 900 < denied.retry_after.ToMilliseconds() / 1000 <= 1000
    assert denied.bucket.remaining == 3


async def test_peek_spends_nothing(limiter: RatelimitProcess, identity: Identity) -> None:
    await take(limiter, identity, 4)
    assert (await peek(limiter, identity)).remaining == 6
    bucket = await peek(limiter, identity)
    assert bucket.remaining == 6
    assert 3900 < bucket.full_in.ToMilliseconds() / 1000 <= 4000


async def test_the_front_door_and_the_mesh_spend_from_one_bucket(limiter: RatelimitProcess, address: str) -> None:
    created = await create_key(limiter)
    await ask(limiter, address, x_api_key=created.secret)
    assert (await peek(limiter, caller(created.api_key.id))).remaining == 9


async def test_a_cost_of_nothing_is_named(limiter: RatelimitProcess, identity: Identity) -> None:
    error = await refusal(take(limiter, identity, 0))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "cost")


@pytest.mark.parametrize("cost", [11, 2**64 - 1])
async def test_a_cost_that_can_never_pass_is_refused(limiter: RatelimitProcess, identity: Identity, cost: int) -> None:
    error = await refusal(take(limiter, identity, cost))
    assert (error.reason, error.field) == (Reason.COST_ABOVE_CAPACITY, "cost")


@pytest.mark.parametrize(
    ("authentication", "reason"),
    [
        (Authentication.UNKNOWN_KEY, Reason.API_KEY_INVALID),
        (Authentication.SEVERAL_KEYS, Reason.API_KEY_AMBIGUOUS),
        (Authentication.MISSING_KEY, Reason.API_KEY_REQUIRED),
    ],
)
async def test_a_caller_who_is_not_good_gets_no_tokens(
    limiter: RatelimitProcess, authentication: Authentication, reason: Reason
) -> None:
    assert (await refusal(take(limiter, caller(authentication=authentication), 1))).reason is reason


async def test_an_unsigned_a_forged_and_a_doubled_identity_are_refused(
    limiter: RatelimitProcess, identity: Identity
) -> None:
    own, forged, other = metadata_of(identity), metadata_of(identity, signer=FORGER), metadata_of(caller("rival"))
    async with mesh_caller(limiter.address) as stub:
        for metadata in ((), forged, own + forged, own + other):
            error = await refusal(stub.Take(pb.TakeRequest(cost=1), metadata=metadata, timeout=TIMEOUT_SECONDS))
            assert error.reason is Reason.IDENTITY_INVALID
    assert (await peek(limiter, identity)).remaining == 10
