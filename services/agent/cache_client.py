"""The cache service as a turn sees it: an outage is a miss."""

from collections.abc import AsyncIterator, Sequence

import grpc
import msgspec
import structlog

from meshkit import call
from meshkit.errors import ShoalError
from services.agent.conversation import AnswerEvent, Completed
from services.agent.ports import CachedAnswer
from shoal.cache.v1 import cache_pb2
from shoal.cache.v1.cache_pb2_grpc import CacheServiceStub

OPEN_SECONDS = 0.5
STORE_SECONDS = 2.0
EVENTS_PER_MESSAGE = 1000
"""A long answer is larger than the 4 MiB that one message may have."""

log = structlog.get_logger()


class _Origin(msgspec.Struct, frozen=True, tag="origin"):
    """Who gave the answer: the default model may be another one when the answer is found."""

    model: str


class CacheClient:
    """Answers in the cache service, kept as msgpack: the origin, then the events.

    The channel is closed by whoever opened it.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = CacheServiceStub(channel)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(_Origin | AnswerEvent)

    async def open(self, key: str) -> CachedAnswer | None:
        request = cache_pb2.OpenRequest(key=key, policy=cache_pb2.POLICY_RESPONSE)
        try:
            response = await self._stub.Open(
                request, timeout=call.onward_timeout(longest_seconds=OPEN_SECONDS), metadata=call.onward_metadata()
            )
            return self._read(response.hit) if response.HasField("hit") else None
        except (grpc.aio.AioRpcError, ShoalError, msgspec.MsgspecError) as error:
            log.warning("cache not used", step="open", error=_short(error))
            return None

    def _read(self, hit: cache_pb2.Hit) -> CachedAnswer | None:
        """None for what is no whole answer. Raises MsgspecError for what this version cannot read."""
        match [self._decoder.decode(event) for event in hit.events]:
            case [_Origin(model=model), *events] if events and isinstance(events[-1], Completed):
                return CachedAnswer(model, tuple(events), hit.level, hit.age_seconds)
        return None

    async def store(self, key: str, *, model: str, events: Sequence[AnswerEvent]) -> None:
        try:
            await self._stub.Publish(
                self._steps(key, [_Origin(model), *events]),
                timeout=call.onward_timeout(longest_seconds=STORE_SECONDS),
                metadata=call.onward_metadata(),
            )
        except (grpc.aio.AioRpcError, ShoalError) as error:
            log.warning("cache not used", step="store", error=_short(error))

    async def _steps(
        self, key: str, events: Sequence[_Origin | AnswerEvent]
    ) -> AsyncIterator[cache_pb2.PublishRequest]:
        yield cache_pb2.PublishRequest(begin=cache_pb2.PublishBegin(key=key, policy=cache_pb2.POLICY_RESPONSE))
        for start in range(0, len(events), EVENTS_PER_MESSAGE):
            encoded = [self._encoder.encode(event) for event in events[start : start + EVENTS_PER_MESSAGE]]
            yield cache_pb2.PublishRequest(append=cache_pb2.PublishAppend(events=encoded))
        yield cache_pb2.PublishRequest(end=cache_pb2.PublishEnd())


def _short(error: Exception) -> str:
    return error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error)
