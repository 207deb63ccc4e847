"""CacheService: validates, calls the cache and translates."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from meshkit import call
from meshkit.errors import field_invalid, field_required
from services.cache import translate
from services.cache.answers import Answers
from services.cache.draft import Draft
from services.cache.generations.generation_watcher import GenerationWatcher
from services.cache.statistics import Statistics
from shoal.cache.v1 import cache_pb2, cache_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class CacheServicer(cache_pb2_grpc.CacheServiceServicer):
    """`clock` tells Unix time in seconds. Methods bear the names of their RPCs."""

    def __init__(
        self,
        *,
        answers: Answers,
        watcher: GenerationWatcher,
        statistics: Statistics,
        replica: str,
        clock: Callable[[], float],
    ) -> None:
        self._answers = answers
        self._watcher = watcher
        self._statistics = statistics
        self._replica = replica
        self._clock = clock

    async def Open(self, request: cache_pb2.OpenRequest, context: Context) -> cache_pb2.OpenResponse:
        place = translate.place(call.current().identity.tenant, request.policy, request.key)
        whole = translate.whole(request)
        now = self._clock()
        opened = await self._answers.open(place, whole=whole, refresh=request.refresh, only=request.only, now=now)
        return translate.open_response(opened, now)

    async def Publish(
        self, request_iterator: AsyncIterator[cache_pb2.PublishRequest], context: Context
    ) -> cache_pb2.PublishResponse:
        tenant = call.current().identity.tenant
        begin = await _begin(request_iterator)
        place, terms = translate.place(tenant, begin.policy, begin.key), translate.terms(begin)
        draft = self._answers.draft(place.policy)
        worth = translate.worth(await _collect(request_iterator, draft))
        kept = await self._answers.keep(place, draft, terms, worth, self._clock())
        return translate.publish_response(kept, draft.size_bytes)

    async def Get(self, request: cache_pb2.GetRequest, context: Context) -> cache_pb2.GetResponse:
        tenant = translate.tenant(call.current().identity, request.tenant)
        place = translate.place(tenant, request.policy, request.key)
        now = self._clock()
        return translate.get_response(await self._answers.inspect(place, now), now)

    async def Invalidate(self, request: cache_pb2.InvalidateRequest, context: Context) -> cache_pb2.InvalidateResponse:
        tenant = translate.tenant(call.current().identity, request.tenant)
        generation = await self._watcher.invalidate(translate.scope(tenant, request))
        return cache_pb2.InvalidateResponse(generation=generation)

    async def Stats(self, request: cache_pb2.StatsRequest, context: Context) -> cache_pb2.StatsResponse:
        return translate.stats_response(self._statistics, replica=self._replica)


async def _begin(requests: AsyncIterator[cache_pb2.PublishRequest]) -> cache_pb2.PublishBegin:
    """The first step. Raises ShoalError FIELD_REQUIRED if it is another, or if there is none."""
    first = await anext(requests, None)
    if first is None or not first.HasField("begin"):
        raise field_required("begin")
    return first.begin


async def _collect(requests: AsyncIterator[cache_pb2.PublishRequest], draft: Draft) -> cache_pb2.Worth:
    """Reads to the end of the call. Raises ShoalError unless the steps are any number of `append` and then `end`."""
    end: cache_pb2.PublishEnd | None = None
    async for request in requests:
        if end is not None:
            raise field_invalid("end", "be the last step")
        match request.WhichOneof("step"):
            case "append":
                draft.append(request.append.events)
            case "end":
                end = request.end
            case "begin":
                raise field_invalid("begin", "come once, as the first step")
            case _:
                raise field_required("step")
    if end is None:
        raise field_required("end")
    return end.worth
