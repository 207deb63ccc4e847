"""The cache service as a turn sees it: an outage is a miss."""

from collections.abc import AsyncIterator, Iterator, Sequence

import grpc
import msgspec
import structlog

from meshkit import call
from meshkit.errors import ShoalError
from services.agent.conversation import AnswerEvent, Completed, Usage
from services.agent.metering import MOST_TOKENS
from services.agent.ports import CachedAnswer, CachedKind, Lead, Lifetime
from shoal.cache.v1 import cache_pb2 as pb
from shoal.cache.v1.cache_pb2_grpc import CacheServiceStub

OPEN_SECONDS = 1.0
"""Longer than the cache waits for all of its levels."""
KEEP_SECONDS = 2.0
MESSAGE_BYTES = 1024 * 1024
"""Events are sent in messages of about this size: one may have 4 MiB, and an answer more."""

_POLICIES = {
    CachedKind.RESPONSE: pb.POLICY_RESPONSE,
    CachedKind.MODEL_OUTPUT: pb.POLICY_MODEL_OUTPUT,
}

log = structlog.get_logger()


class _Origin(msgspec.Struct, frozen=True, tag="origin"):
    """Who gave the answer, since the default model may be another one when it is found, and as what it was kept."""

    model: str
    tags: tuple[str, ...] = ()
    ttl_seconds: int | None = None


class CacheClient:
    """Answers in the cache service, kept as msgpack: the origin, then the events.

    The channel is closed by whoever opened it.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = CacheServiceStub(channel)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(_Origin | AnswerEvent)

    async def open(
        self,
        key: str,
        kind: CachedKind,
        *,
        part_of: str = "",
        tags: Sequence[str] = (),
        generation: int = 0,
        refresh: bool = False,
        only: bool = False,
    ) -> CachedAnswer | Lead | None:
        request = pb.OpenRequest(
            key=key,
            policy=_POLICIES[kind],
            part_of=part_of,
            tags=tags,
            generation=generation,
            refresh=refresh,
            only=only,
        )
        try:
            response = await self._stub.Open(
                request, timeout=call.onward_timeout(longest_seconds=OPEN_SECONDS), metadata=_metadata(key)
            )
            if response.HasField("lead"):
                return _lead(key, kind, response.lead)
            return self._read(key, kind, response.hit)
        except (grpc.aio.AioRpcError, ShoalError) as error:
            log.warning("cache not used", step="open", error=_short(error))
            return None
        except (msgspec.MsgspecError, ValueError) as error:
            log.warning("cached answer not readable", kind=kind, error=type(error).__name__)
        # Another version of Shoal wrote it, or it is damaged: whoever computes replaces it.
        if refresh or only:
            return None
        return await self.open(key, kind, part_of=part_of, tags=tags, generation=generation, refresh=True)

    def _read(self, key: str, kind: CachedKind, hit: pb.Hit) -> CachedAnswer:
        """Raises MsgspecError or ValueError for what this version cannot read."""
        origin, *events = (self._decoder.decode(event) for event in hit.events)
        if not isinstance(origin, _Origin) or not isinstance(events[-1] if events else None, Completed):
            raise ValueError("not a whole answer")
        return CachedAnswer(
            model=origin.model,
            events=tuple(events),
            level=hit.level,
            age_seconds=hit.age_seconds,
            lifetime=Lifetime(ttl_seconds=hit.ttl_seconds, stale_seconds=hit.stale_seconds),
            tags=origin.tags,
            asked_ttl_seconds=origin.ttl_seconds,
            renewal=_lead(key, kind, hit.renewal) if hit.HasField("renewal") else None,
        )

    async def keep(
        self,
        lead: Lead,
        *,
        model: str,
        events: Sequence[AnswerEvent],
        tags: Sequence[str] = (),
        ttl_seconds: int | None = None,
    ) -> Lifetime | None:
        begin = pb.PublishBegin(
            key=lead.key,
            policy=_POLICIES[lead.kind],
            generation=lead.generation,
            tags=tags,
            ttl_seconds=ttl_seconds,
        )
        kept = [self._encoder.encode(each) for each in (_Origin(model, tuple(tags), ttl_seconds), *events)]
        end = pb.PublishEnd(worth=_worth(events))
        steps = _in_parts if sum(map(len, kept)) > MESSAGE_BYTES else _at_once
        try:
            response = await self._stub.Publish(
                steps(begin, kept, end),
                timeout=call.onward_timeout(longest_seconds=KEEP_SECONDS),
                metadata=_metadata(lead.key),
            )
        except (grpc.aio.AioRpcError, ShoalError) as error:
            log.warning("cache not used", step="keep", error=_short(error))
            return None
        if not response.stored:
            return None
        return Lifetime(ttl_seconds=response.ttl_seconds, stale_seconds=response.stale_seconds)


def _at_once(begin: pb.PublishBegin, events: Sequence[bytes], end: pb.PublishEnd) -> Iterator[pb.PublishRequest]:
    """The steps of most answers: they travel in one piece."""
    yield pb.PublishRequest(begin=begin)
    yield pb.PublishRequest(append=pb.PublishAppend(events=events))
    yield pb.PublishRequest(end=end)


async def _in_parts(
    begin: pb.PublishBegin, events: Sequence[bytes], end: pb.PublishEnd
) -> AsyncIterator[pb.PublishRequest]:
    """The steps of a large answer, in messages of about MESSAGE_BYTES: each is made when there is room for it."""
    yield pb.PublishRequest(begin=begin)
    batch: list[bytes] = []
    size = 0
    for event in events:
        if batch and size + len(event) > MESSAGE_BYTES:
            yield pb.PublishRequest(append=pb.PublishAppend(events=batch))
            batch, size = [], 0
        batch.append(event)
        size += len(event)
    yield pb.PublishRequest(append=pb.PublishAppend(events=batch))
    yield pb.PublishRequest(end=end)


def _lead(key: str, kind: CachedKind, lead: pb.Lead) -> Lead:
    return Lead(key, kind, lead.generation, refresh=lead.anew)


def _metadata(key: str) -> tuple[tuple[str, str], ...]:
    """With the key, so that all calls about an answer come to the process that has it in memory."""
    return (*call.onward_metadata(), (call.CACHE_KEY_HEADER, key))


def _worth(events: Sequence[AnswerEvent]) -> pb.Worth:
    """What the answer took to compute."""
    usages = [event for event in events if isinstance(event, Usage)]
    return pb.Worth(
        input_tokens=min(sum(usage.input_tokens for usage in usages), MOST_TOKENS),
        output_tokens=min(sum(usage.output_tokens for usage in usages), MOST_TOKENS),
        cost_usd=sum(usage.cost_usd for usage in usages),
    )


def _short(error: Exception) -> str:
    return error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error)
