"""Another service that calls a cache, as far as measuring needs one."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import grpc

from load.measuring.home import Home
from load.measuring.rpc import Rpc
from meshkit.channel import open_channel
from meshkit.identity import HEADER, LIFETIME_SECONDS, Authentication, Identity, IdentitySigner
from shoal.cache.v1 import cache_pb2, cache_pb2_grpc

OPEN = Rpc("shoal.cache.v1.cache_pb2", "CacheService", "Open")
POLICY = cache_pb2.POLICY_RESPONSE
_TIMEOUT_SECONDS = 20.0


def signed(home: Home) -> Mapping[str, str]:
    """The metadata of calls on behalf of a tenant of the mesh in this home, good for 20 minutes."""
    identity = Identity("load", "bench", "load", Authentication.API_KEY, time.time() + LIFETIME_SECONDS)
    return {HEADER: IdentitySigner.from_file(str(home.secret_file)).sign(identity)}


def open_request(key: str) -> bytes:
    return cache_pb2.OpenRequest(key=key, policy=POLICY).SerializeToString()


class Caller:
    """Calls one cache. Every method raises AioRpcError. The channel is closed by whoever opened it."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Mapping[str, str]) -> None:
        self._stub = cache_pb2_grpc.CacheServiceStub(channel)
        self._metadata = tuple(metadata.items())

    async def lead(self) -> int:
        """The generation of answers that are computed now."""
        request = cache_pb2.OpenRequest(key="0" * 64, policy=POLICY, refresh=True)
        response = await self._stub.Open(request, metadata=self._metadata, timeout=_TIMEOUT_SECONDS)
        return response.lead.generation

    async def publish(self, key: str, events: Sequence[bytes], generation: int) -> None:
        """Raises RuntimeError if the answer was not stored."""
        steps = (
            cache_pb2.PublishRequest(begin=cache_pb2.PublishBegin(key=key, policy=POLICY, generation=generation)),
            cache_pb2.PublishRequest(append=cache_pb2.PublishAppend(events=events)),
            cache_pb2.PublishRequest(end=cache_pb2.PublishEnd()),
        )
        response = await self._stub.Publish(iter(steps), metadata=self._metadata, timeout=_TIMEOUT_SECONDS)
        if not response.stored:
            raise RuntimeError("the cache did not store what it was given")

    async def level(self, name: str) -> cache_pb2.LevelStats:
        """What the cache says of one of its levels."""
        response = await self._stub.Stats(cache_pb2.StatsRequest(), metadata=self._metadata, timeout=_TIMEOUT_SECONDS)
        return next(level for level in response.levels if level.level == name)


@asynccontextmanager
async def calling(address: str, home: Home) -> AsyncIterator[Caller]:
    """A caller of the cache at that address, in the mesh of this home."""
    async with open_channel(address) as channel:
        yield Caller(channel, signed(home))
