"""The cache for the command line: a client of the cache service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from launcher.cache.policies import POLICIES
from launcher.operator import Operator, open_operator
from launcher.settings import OperatorSettings
from meshkit.call import CACHE_KEY_HEADER
from shoal.cache.v1 import cache_pb2, cache_pb2_grpc


class CacheClient:
    """Looks into the cache and invalidates what is in it. Every method raises OperatorError."""

    def __init__(self, operator: Operator) -> None:
        self._stub = cache_pb2_grpc.CacheServiceStub(operator.channel)
        self._call = operator.call

    async def stats(self) -> cache_pb2.StatsResponse:
        """The numbers of one cache process: whichever Envoy chose."""
        return await self._call(self._stub.Stats, cache_pb2.StatsRequest())

    async def get(self, *, tenant: str, key: str, policy: str) -> cache_pb2.GetResponse:
        """`policy` is one of POLICIES."""
        request = cache_pb2.GetRequest(tenant=tenant, key=key, policy=POLICIES[policy])
        # The process that has the answer in its memory, if one has.
        return await self._call(self._stub.Get, request, (CACHE_KEY_HEADER, key))

    async def invalidate_key(self, tenant: str, key: str) -> int:
        return await self._invalidate(cache_pb2.InvalidateRequest(tenant=tenant, key=key))

    async def invalidate_tag(self, tenant: str, tag: str) -> int:
        return await self._invalidate(cache_pb2.InvalidateRequest(tenant=tenant, tag=tag))

    async def invalidate_everything(self, tenant: str) -> int:
        return await self._invalidate(cache_pb2.InvalidateRequest(tenant=tenant, everything=True))

    async def _invalidate(self, request: cache_pb2.InvalidateRequest) -> int:
        """The generation that begins with it."""
        return (await self._call(self._stub.Invalidate, request)).generation


@asynccontextmanager
async def open_cache(settings: OperatorSettings) -> AsyncIterator[CacheClient]:
    """A client that acts as the operator. Raises OperatorError if the mesh's secret is no good."""
    async with open_operator(settings) as operator:
        yield CacheClient(operator)
