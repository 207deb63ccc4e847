"""The limiter's own service: tokens and reservations for callers inside the mesh, keys for the operator."""

import re
import secrets
import time
from typing import Any

import grpc

from meshkit import call
from meshkit.errors import Reason, ShoalError, field_invalid, field_required
from meshkit.identity import ANONYMOUS_TENANT, require_operator
from services.ratelimit import keys, translate
from services.ratelimit.durations import as_duration
from services.ratelimit.key_directory import KeyDirectory
from services.ratelimit.keys import KeyStore
from services.ratelimit.limiter import Limiter
from services.ratelimit.reservations.reservation import Outcome
from services.ratelimit.reservations.reservations import Reservations
from services.ratelimit.tiers import Tiers
from shoal.ratelimit.v1 import ratelimit_pb2 as pb
from shoal.ratelimit.v1 import ratelimit_pb2_grpc

SERVICE = "shoal.ratelimit.v1.RateLimitService"
NAME_MAX_CHARACTERS = 100

Context = grpc.aio.ServicerContext[Any, Any]


class RateLimitServicer(ratelimit_pb2_grpc.RateLimitServiceServicer):
    """Methods bear the names of their RPCs. Refusals are ShoalErrors, which the guard answers with."""

    def __init__(
        self,
        *,
        limiter: Limiter,
        reservations: Reservations,
        key_store: KeyStore,
        directory: KeyDirectory,
        tiers: Tiers,
    ) -> None:
        self._limiter = limiter
        self._reservations = reservations
        self._key_store = key_store
        self._directory = directory
        self._tiers = tiers

    async def Take(self, request: pb.TakeRequest, context: Context) -> pb.TakeResponse:
        identity = call.current().identity
        limits, decision = await self._limiter.take(identity, request.cost)
        return pb.TakeResponse(
            allowed=decision.allowed,
            bucket=translate.bucket(limits.requests.name, decision.holdings[0]),
            retry_after=None if decision.allowed else as_duration(decision.retry_after_micros),
        )

    async def Peek(self, request: pb.PeekRequest, context: Context) -> pb.PeekResponse:
        identity = call.current().identity
        limits, decision = await self._limiter.peek(identity)
        # An error is all there is to say without Redis: a limit that is left out of the answer is one that is not set.
        reserved = await self._reservations.peek(identity, limits)
        return pb.PeekResponse(
            bucket=translate.bucket(limits.requests.name, decision.holdings[0]),
            model_tokens=translate.model_tokens(limits, reserved),
            places=translate.places(reserved.places),
        )

    async def Reserve(self, request: pb.ReserveRequest, context: Context) -> pb.ReserveResponse:
        wish = translate.reservation_request(request)
        limits, answer = await self._reservations.reserve(call.current().identity, wish)
        return translate.reserve_response(limits, answer)

    async def Renew(self, request: pb.RenewRequest, context: Context) -> pb.RenewResponse:
        name, ttl_micros = translate.reservation_name(request.reservation_id), translate.ttl_micros(request)
        answer = await self._reservations.renew(call.current().identity, name, ttl_micros)
        return pb.RenewResponse(renewed=answer.outcome is Outcome.DONE)

    async def Settle(self, request: pb.SettleRequest, context: Context) -> pb.SettleResponse:
        name = translate.reservation_name(request.reservation_id)
        used = translate.token_count(request.used_tokens, field="used_tokens")
        limits, answer = await self._reservations.settle(call.current().identity, name, used)
        return pb.SettleResponse(
            counted=answer.outcome is Outcome.DONE, model_tokens=translate.model_tokens(limits, answer)
        )

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Context) -> pb.CreateApiKeyResponse:
        require_operator(call.current().identity)
        _check_tenant(request.tenant)
        self._check_tier(request.tier)
        _check_name(request.name)
        secret = keys.new_secret(secrets.token_bytes(keys.ENTROPY_BYTES))
        key = keys.describe(secret, tenant=request.tenant, tier=request.tier, name=request.name, now=time.time())
        await self._key_store.add(key)
        return pb.CreateApiKeyResponse(api_key=translate.api_key(key), secret=secret)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Context) -> pb.ListApiKeysResponse:
        require_operator(call.current().identity)
        found = await self._key_store.list_keys(tenant=request.tenant, include_revoked=request.include_revoked)
        return pb.ListApiKeysResponse(api_keys=[translate.api_key(key) for key in found])

    async def UpdateApiKey(self, request: pb.UpdateApiKeyRequest, context: Context) -> pb.UpdateApiKeyResponse:
        require_operator(call.current().identity)
        if not request.id:
            raise field_required("id")
        self._check_tier(request.tier)
        key = await self._key_store.update(request.id, request.tier)
        if key is None:
            raise ShoalError(Reason.API_KEY_NOT_FOUND, "There is no good API key with that id; list them.", field="id")
        self._directory.forget(key.hash)
        return pb.UpdateApiKeyResponse(api_key=translate.api_key(key))

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Context) -> pb.RevokeApiKeyResponse:
        require_operator(call.current().identity)
        if not request.id:
            raise field_required("id")
        key = await self._key_store.revoke(request.id, time.time())
        if key is None:
            raise ShoalError(Reason.API_KEY_NOT_FOUND, "There is no API key with that id; list them.", field="id")
        self._directory.forget(key.hash)
        return pb.RevokeApiKeyResponse(api_key=translate.api_key(key))

    def _check_tier(self, tier: str) -> None:
        if not tier:
            raise field_required("tier")
        if tier not in self._tiers:
            raise field_invalid("tier", f"be one of {', '.join(self._tiers)}")


def _check_tenant(tenant: str) -> None:
    if not tenant:
        raise field_required("tenant")
    if not re.fullmatch(keys.TENANT_PATTERN, tenant):
        raise field_invalid("tenant", "be 1 to 64 of a-z 0-9 -, beginning with a letter")
    if tenant.startswith(ANONYMOUS_TENANT):
        raise field_invalid("tenant", f"not begin with '{ANONYMOUS_TENANT}', which callers without a key have")


def _check_name(name: str) -> None:
    if len(name) > NAME_MAX_CHARACTERS or not name.isprintable():
        raise field_invalid("name", f"be at most {NAME_MAX_CHARACTERS} printable characters")
