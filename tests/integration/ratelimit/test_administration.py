"""Keys made, listed, updated and revoked by the operator, and by nobody else."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from meshkit.errors import Reason, ShoalError
from meshkit.identity import Authentication
from services.ratelimit import keys
from shoal.ratelimit.v1 import ratelimit_pb2 as pb
from tests.integration.ratelimit.ratelimit_process import (
    OPERATOR,
    TIMEOUT_SECONDS,
    RatelimitProcess,
    caller,
    create_key,
    mesh_caller,
    revoke_key,
    update_key,
)
from tests.mesh_identity import FORGER, metadata_of
from tests.refusal import refusal

Call = Callable[[Any, tuple[tuple[str, str], ...]], Awaitable[object]]

RPCS: dict[str, Call] = {
    "CreateApiKey": lambda stub, metadata: stub.CreateApiKey(
        pb.CreateApiKeyRequest(tenant="intruder", tier="free"), metadata=metadata, timeout=TIMEOUT_SECONDS
    ),
    "ListApiKeys": lambda stub, metadata: stub.ListApiKeys(
        pb.ListApiKeysRequest(), metadata=metadata, timeout=TIMEOUT_SECONDS
    ),
    "UpdateApiKey": lambda stub, metadata: stub.UpdateApiKey(
        pb.UpdateApiKeyRequest(id="key_1", tier="free"), metadata=metadata, timeout=TIMEOUT_SECONDS
    ),
    "RevokeApiKey": lambda stub, metadata: stub.RevokeApiKey(
        pb.RevokeApiKeyRequest(id="key_1"), metadata=metadata, timeout=TIMEOUT_SECONDS
    ),
}


async def list_keys(limiter: RatelimitProcess, *, tenant: str = "", include_revoked: bool = False) -> list[pb.ApiKey]:
    request = pb.ListApiKeysRequest(tenant=tenant, include_revoked=include_revoked)
    async with mesh_caller(limiter.address) as stub:
        operator = metadata_of(caller(authentication=OPERATOR))
        return list((await stub.ListApiKeys(request, metadata=operator, timeout=TIMEOUT_SECONDS)).api_keys)


async def creation_refused(limiter: RatelimitProcess, request: pb.CreateApiKeyRequest) -> ShoalError:
    async with mesh_caller(limiter.address) as stub:
        operator = metadata_of(caller(authentication=OPERATOR))
        return await refusal(stub.CreateApiKey(request, metadata=operator, timeout=TIMEOUT_SECONDS))


async def test_a_new_key_has_the_published_form_and_is_listed_without_it(limiter: RatelimitProcess) -> None:
    created = await create_key(limiter, tenant="lister", tier="premium")
    assert keys.is_well_formed(created.secret)
    assert created.api_key.id == "key_" + keys.hash_of(created.secret)[:16]
    (listed,) = await list_keys(limiter, tenant="lister")
    assert listed == created.api_key
    assert (listed.tenant, listed.tier, listed.name) == ("lister", "premium", "made by a test")
    assert listed.HasField("created")
    assert not listed.HasField("revoked")


async def test_two_keys_are_different(limiter: RatelimitProcess) -> None:
    assert (await create_key(limiter)).secret != (await create_key(limiter)).secret


async def test_a_revoked_key_is_listed_only_on_request(limiter: RatelimitProcess) -> None:
    created = await create_key(limiter, tenant="revoker")
    await revoke_key(limiter, created.api_key.id)
    assert await list_keys(limiter, tenant="revoker") == []
    (revoked,) = await list_keys(limiter, tenant="revoker", include_revoked=True)
    assert revoked.id == created.api_key.id
    assert revoked.HasField("revoked")


async def test_revoking_what_is_not_there_is_an_error(limiter: RatelimitProcess) -> None:
    for key_id, reason in {"": Reason.FIELD_REQUIRED, "key_0000000000000000": Reason.API_KEY_NOT_FOUND}.items():
        error = await refusal(revoke_key(limiter, key_id))
        assert (error.reason, error.field) == (reason, "id")


async def test_an_updated_key_is_listed_with_its_new_tier(limiter: RatelimitProcess) -> None:
    created = await create_key(limiter, tenant="updater", tier="free")
    updated = await update_key(limiter, created.api_key.id, "premium")
    assert (updated.id, updated.tier, updated.created) == (created.api_key.id, "premium", created.api_key.created)
    assert await list_keys(limiter, tenant="updater") == [updated]


@pytest.mark.parametrize(
    ("key_id", "tier", "reason", "field"),
    [
        ("", "free", Reason.FIELD_REQUIRED, "id"),
        ("key_0000000000000000", "free", Reason.API_KEY_NOT_FOUND, "id"),
        ("key_0000000000000000", "", Reason.FIELD_REQUIRED, "tier"),
        ("key_0000000000000000", "gold", Reason.FIELD_INVALID, "tier"),
    ],
)
async def test_an_update_that_cannot_be_made_is_an_error(
    limiter: RatelimitProcess, key_id: str, tier: str, reason: Reason, field: str
) -> None:
    error = await refusal(update_key(limiter, key_id, tier))
    assert (error.reason, error.field) == (reason, field)


async def test_a_revoked_key_cannot_be_updated(limiter: RatelimitProcess) -> None:
    created = await create_key(limiter)
    await revoke_key(limiter, created.api_key.id)
    assert (await refusal(update_key(limiter, created.api_key.id, "premium"))).reason is Reason.API_KEY_NOT_FOUND


@pytest.mark.parametrize(
    ("tenant", "tier", "name", "field"),
    [
        ("", "free", "", "tenant"),
        ("Acme", "free", "", "tenant"),
        ("1acme", "free", "", "tenant"),
        ("acme\n", "free", "", "tenant"),
        ("a" * 65, "free", "", "tenant"),
        ("anonymous-0123456789abcdef", "free", "", "tenant"),
        ("acme", "", "", "tier"),
        ("acme", "gold", "", "tier"),
        ("acme", "free", "n" * 101, "name"),
        ("acme", "free", "\x1b[31mred", "name"),
    ],
)
async def test_a_field_at_fault_is_named(
    limiter: RatelimitProcess, tenant: str, tier: str, name: str, field: str
) -> None:
    error = await creation_refused(limiter, pb.CreateApiKeyRequest(tenant=tenant, tier=tier, name=name))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", field)


async def test_the_tiers_that_there_are_are_named(limiter: RatelimitProcess) -> None:
    error = await creation_refused(limiter, pb.CreateApiKeyRequest(tenant="acme", tier="gold"))
    assert error.message == "The field 'tier' must be one of anonymous, free, premium."


REFUSALS = {
    Authentication.API_KEY: Reason.PERMISSION_DENIED,
    Authentication.ANONYMOUS: Reason.PERMISSION_DENIED,
    Authentication.UNCHECKED: Reason.PERMISSION_DENIED,
    Authentication.UNKNOWN_KEY: Reason.API_KEY_INVALID,
    Authentication.SEVERAL_KEYS: Reason.API_KEY_AMBIGUOUS,
    Authentication.MISSING_KEY: Reason.API_KEY_REQUIRED,
}


def test_only_the_operator_is_spared() -> None:
    assert set(Authentication) - set(REFUSALS) == {OPERATOR}


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("authentication", REFUSALS)
async def test_nobody_but_the_operator_may_administer(
    limiter: RatelimitProcess, rpc: str, authentication: Authentication
) -> None:
    async with mesh_caller(limiter.address) as stub:
        error = await refusal(RPCS[rpc](stub, metadata_of(caller(authentication=authentication))))
    assert error.reason is REFUSALS[authentication]
    assert await list_keys(limiter, tenant="intruder") == []


@pytest.mark.parametrize("rpc", RPCS)
async def test_a_forged_or_missing_operator_is_refused(limiter: RatelimitProcess, rpc: str) -> None:
    forged = metadata_of(caller(authentication=OPERATOR), signer=FORGER)
    async with mesh_caller(limiter.address) as stub:
        for metadata in (forged, ()):
            assert (await refusal(RPCS[rpc](stub, metadata))).reason is Reason.IDENTITY_INVALID
    assert await list_keys(limiter, tenant="intruder") == []
