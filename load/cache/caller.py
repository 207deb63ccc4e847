"""Another service that calls a cache, as far as measuring needs one."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import grpc

from load.measuring.generator import MeasurementError
from load.measuring.home import Home
from load.measuring.rpc import Rpc
from meshkit.call import REQUEST_ID_HEADER
from meshkit.channel import open_channel
from meshkit.identity import HEADER as IDENTITY_HEADER
from meshkit.identity import LIFETIME_SECONDS, Authentication, Identity, IdentitySigner
from shoal.cache.v1 import cache_pb2, cache_pb2_grpc

OPEN = Rpc("shoal.cache.v1.cache_pb2", "CacheService", "Open")
POLICY = cache_pb2.POLICY_RESPONSE
_TIMEOUT_SECONDS = 20.0
_REQUEST_ID = "00000000-0000-4000-8000-000000000000"


def metadata(home: Home) -> Mapping[str, str]:
    """What every call in a mesh has: the identity of a caller in the mesh of this home, for 20 minutes, and an id."""
    identity = Identity("load", "bench", "load", Authentication.API_KEY, time.time() + LIFETIME_SECONDS)
    signer = IdentitySigner.from_file(str(home.secret_file))
    return {IDENTITY_HEADER: signer.sign(identity), REQUEST_ID_HEADER: _REQUEST_ID}


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
        """Raises MeasurementError if the answer was not stored."""
        steps = (
            cache_pb2.PublishRequest(begin=cache_pb2.PublishBegin(key=key, policy=POLICY, generation=generation)),
            cache_pb2.PublishRequest(append=cache_pb2.PublishAppend(events=events)),
            cache_pb2.PublishRequest(end=cache_pb2.PublishEnd()),
        )
        response = await self._stub.Publish(iter(steps), metadata=self._metadata, timeout=_TIMEOUT_SECONDS)
        if not response.stored:
            raise MeasurementError("the cache did not store what it was given")

    async def level(self, name: str) -> cache_pb2.LevelStats:
        """What the cache says of one of its levels. Raises MeasurementError if there is none of that name."""
        response = await self._stub.Stats(cache_pb2.StatsRequest(), metadata=self._metadata, timeout=_TIMEOUT_SECONDS)
        for level in response.levels:
            if level.level == name:
                return level
        raise MeasurementError(f"the cache has no level {name}")


@asynccontextmanager
async def calling(address: str, home: Home) -> AsyncIterator[Caller]:
    """A caller of the cache at that address, in the mesh of this home."""
    async with open_channel(address) as channel:
        yield Caller(channel, metadata(home))
