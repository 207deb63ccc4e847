"""API keys for the command line: a client of the limiter."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from launcher.operator import Operator, open_operator
from launcher.settings import OperatorSettings
from shoal.ratelimit.v1 import ratelimit_pb2, ratelimit_pb2_grpc


class KeysClient:
    """Creates, lists, re-tiers and revokes keys. Every method raises OperatorError."""

    def __init__(self, operator: Operator) -> None:
        self._stub = ratelimit_pb2_grpc.RateLimitServiceStub(operator.channel)
        self._call = operator.call

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


@asynccontextmanager
async def open_keys(settings: OperatorSettings) -> AsyncIterator[KeysClient]:
    """A client that acts as the operator. Raises OperatorError if the mesh's secret is no good."""
    async with open_operator(settings) as operator:
        yield KeysClient(operator)
