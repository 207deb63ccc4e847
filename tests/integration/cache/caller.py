"""A caller that talks to the cache as another service does."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import grpc

from meshkit.channel import open_channel
from meshkit.identity import Authentication
from shoal.cache.v1 import cache_pb2 as pb
from shoal.cache.v1 import cache_pb2_grpc
from tests.integration.cache.cache_process import CacheProcess
from tests.mesh_identity import signed

TIMEOUT_SECONDS = 20.0
RESPONSE, MODEL_OUTPUT, CONTEXT, TOOL_RESULT = pb.Policy.values()[1:]


OPERATOR = signed("operator", authentication=Authentication.OPERATOR)


class Caller:
    """Calls the cache with the given metadata. A context manager."""

    def __init__(self, cache: CacheProcess, metadata: Sequence[tuple[str, str]]) -> None:
        self._channel = open_channel(cache.address)
        self._stub = cache_pb2_grpc.CacheServiceStub(self._channel)
        self._metadata = tuple(metadata)

    async def __aenter__(self) -> "Caller":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def open(
        self,
        key: str,
        policy: pb.Policy.ValueType = RESPONSE,
        *,
        part_of: str = "",
        tags: Sequence[str] = (),
        generation: int = 0,
        refresh: bool = False,
        only: bool = False,
    ) -> pb.OpenResponse:
        request = pb.OpenRequest(
            key=key, policy=policy, part_of=part_of, tags=tags, generation=generation, refresh=refresh, only=only
        )
        return await self._stub.Open(request, metadata=self._metadata, timeout=TIMEOUT_SECONDS)

    async def finds(self, key: str, policy: pb.Policy.ValueType = RESPONSE) -> bool:
        return (await self.open(key, policy)).HasField("hit")

    async def lead(self, key: str, policy: pb.Policy.ValueType = RESPONSE) -> pb.Lead:
        return (await self.open(key, policy, refresh=True)).lead

    async def keep(
        self,
        key: str,
        *events: bytes,
        policy: pb.Policy.ValueType = RESPONSE,
        lead: pb.Lead | None = None,
        tags: Sequence[str] = (),
        ttl_seconds: int | None = None,
        worth: pb.Worth | None = None,
    ) -> pb.PublishResponse:
        """Leads, unless it does already, and hands the events in."""
        lead = lead or await self.lead(key, policy)
        first = begin(key, policy, lead=lead, tags=tags, ttl_seconds=ttl_seconds)
        return await self.publish([first, append(*events), end(worth)])

    async def publish(self, steps: Sequence[pb.PublishRequest]) -> pb.PublishResponse:
        async def requests() -> AsyncIterator[pb.PublishRequest]:
            for step in steps:
                yield step

        return await self._stub.Publish(requests(), metadata=self._metadata, timeout=TIMEOUT_SECONDS)

    async def publish_unfinished(self, *steps: pb.PublishRequest) -> pb.PublishResponse:
        """Sends the steps and awaits the answer without ending the call.

        A client that still writes when the service refuses may see grpcio's own INTERNAL instead of the refusal, so
        a test of a refusal sends nothing after the step that is at fault.
        """
        publishing = self.begin_publishing()
        for step in steps:
            await publishing.write(step)
        return await publishing

    def begin_publishing(self) -> grpc.aio.StreamUnaryCall[pb.PublishRequest, pb.PublishResponse]:
        return self._stub.Publish(metadata=self._metadata, timeout=TIMEOUT_SECONDS)

    async def get(self, key: str, policy: pb.Policy.ValueType = RESPONSE, *, tenant: str = "") -> pb.GetResponse:
        request = pb.GetRequest(tenant=tenant, key=key, policy=policy)
        return await self._stub.Get(request, metadata=self._metadata, timeout=TIMEOUT_SECONDS)

    async def invalidate(self, request: pb.InvalidateRequest) -> pb.InvalidateResponse:
        return await self._stub.Invalidate(request, metadata=self._metadata, timeout=TIMEOUT_SECONDS)

    async def stats(self) -> pb.StatsResponse:
        return await self._stub.Stats(pb.StatsRequest(), metadata=self._metadata, timeout=TIMEOUT_SECONDS)

    async def levels(self) -> dict[str, pb.LevelStats]:
        return {row.level: row for row in (await self.stats()).levels}


def begin(
    key: str,
    policy: pb.Policy.ValueType = RESPONSE,
    *,
    lead: pb.Lead | None = None,
    tags: Sequence[str] = (),
    ttl_seconds: int | None = None,
) -> pb.PublishRequest:
    generation = lead.generation if lead else 0
    return pb.PublishRequest(
        begin=pb.PublishBegin(key=key, policy=policy, generation=generation, tags=tags, ttl_seconds=ttl_seconds)
    )


def append(*events: bytes) -> pb.PublishRequest:
    return pb.PublishRequest(append=pb.PublishAppend(events=events))


def end(worth: pb.Worth | None = None) -> pb.PublishRequest:
    return pb.PublishRequest(end=pb.PublishEnd(worth=worth))


async def eventually(holds: Callable[[], Awaitable[bool]], what: str, *, within_seconds: float) -> None:
    """Asks until it holds; fails with the name of what did not happen in time."""
    deadline = time.monotonic() + within_seconds
    while not await holds():
        assert time.monotonic() < deadline, f"{what} did not happen within {within_seconds} s"
        await asyncio.sleep(0.01)
