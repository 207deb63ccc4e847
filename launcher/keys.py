"""API keys for the command line: a client of the limiter, acting as the operator of the mesh."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc

from launcher.settings import KeysSettings
from meshkit.call import REQUEST_ID_HEADER, request_id
from meshkit.channel import open_channel
from meshkit.errors import Reason
from meshkit.identity import HEADER, Authentication, Identity, IdentitySigner
from meshkit.status import from_rpc_error
from shoal.ratelimit.v1 import ratelimit_pb2, ratelimit_pb2_grpc

_TIMEOUT_SECONDS = 10.0

Request = TypeVar("Request")
Response = TypeVar("Response")


class KeysError(Exception):
    """The command could not be carried out. The message says what to do."""


class KeysClient:
    """Creates, lists, re-tiers and revokes keys. Every method raises KeysError."""

    def __init__(self, channel: grpc.aio.Channel, *, address: str, signed: str) -> None:
        self._stub = ratelimit_pb2_grpc.RateLimitServiceStub(channel)
        self._address = address
        self._metadata = ((HEADER, signed), (REQUEST_ID_HEADER, request_id(None)))

    async def create(self, *, tenant: str, tier: str, name: str) -> ratelimit_pb2.CreateApiKeyResponse:
        request = ratelimit_pb2.CreateApiKeyRequest(tenant=tenant, tier=tier, name=name)
        return await self._call(self._stub.CreateApiKey, request)

    async def list_keys(self, *, tenant: str, include_revoked: bool) -> list[ratelimit_pb2.ApiKey]:
        request = ratelimit_pb2.ListApiKeysRequest(tenant=tenant, include_revoked=include_revoked)
        return list((await self._call(self._stub.ListApiKeys, request)).api_keys)

    async def update(self, key_id: str, *, tier: str) -> ratelimit_pb2.ApiKey:
        request = ratelimit_pb2.UpdateApiKeyRequest(id=key_id, tier=tier)
        return (await self._call(self._stub.UpdateApiKey, request)).api_key

    async def revoke(self, key_id: str) -> ratelimit_pb2.ApiKey:
        request = ratelimit_pb2.RevokeApiKeyRequest(id=key_id)
        return (await self._call(self._stub.RevokeApiKey, request)).api_key

    async def _call(self, rpc: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request) -> Response:
        try:
            return await rpc(request, metadata=self._metadata, timeout=_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as failure:
            error = from_rpc_error(failure)
            if error.reason is Reason.SERVICE_UNAVAILABLE:
                raise KeysError(
                    f"The mesh does not answer at {self._address}; start it with `make run` or `shoal up`."
                ) from None
            raise KeysError(error.message) from None


@asynccontextmanager
async def open_keys(settings: KeysSettings) -> AsyncIterator[KeysClient]:
    """A client that acts as the operator for a minute. Raises ValueError if the mesh secret is no good."""
    signer = IdentitySigner.from_file(str(settings.secret_file()))
    operator = Identity(
        tenant="shoal",
        tier="operator",
        key_id="operator",
        authentication=Authentication.OPERATOR,
        expires=time.time() + 60,
    )
    async with open_channel(settings.address()) as channel:
        yield KeysClient(channel, address=settings.address(), signed=signer.sign(operator))
