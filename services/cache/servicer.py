"""CacheService: validates, calls the hierarchy and translates."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import grpc

from meshkit import call
from meshkit.errors import field_invalid, field_required
from services.cache.draft import Draft
from services.cache.hierarchy import Hierarchy
from services.cache.policies import Policy, PolicyName
from services.cache.storage_key import storage_key
from shoal.cache.v1 import cache_pb2, cache_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

_POLICY_NAMES = MappingProxyType({cache_pb2.POLICY_RESPONSE: PolicyName.RESPONSE})


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the caller's answer belongs."""

    key: str
    policy: Policy


class CacheServicer(cache_pb2_grpc.CacheServiceServicer):
    """`clock` tells Unix time in seconds. Methods bear the names of their RPCs."""

    def __init__(
        self, *, hierarchy: Hierarchy, policies: Mapping[PolicyName, Policy], clock: Callable[[], float]
    ) -> None:
        self._hierarchy = hierarchy
        self._policies = policies
        self._clock = clock

    async def Open(self, request: cache_pb2.OpenRequest, context: Context) -> cache_pb2.OpenResponse:
        place = self._place(call.current().identity.tenant, request.key, request.policy)
        now = self._clock()
        found = await self._hierarchy.get(place.key, place.policy, now)
        if found is None:
            return cache_pb2.OpenResponse(lead=cache_pb2.Lead())
        age_seconds = found.entry.age_seconds(now)
        return cache_pb2.OpenResponse(
            hit=cache_pb2.Hit(events=found.entry.events, level=found.level, age_seconds=age_seconds)
        )

    async def Publish(
        self, request_iterator: AsyncIterator[cache_pb2.PublishRequest], context: Context
    ) -> cache_pb2.PublishResponse:
        tenant = call.current().identity.tenant
        begin = await _begin(request_iterator)
        place = self._place(tenant, begin.key, begin.policy)
        draft = Draft(max_bytes=place.policy.max_bytes)
        await _collect(request_iterator, draft)
        now = self._clock()
        entry = draft.complete(now=now, ttl_seconds=place.policy.ttl_seconds)
        stored = entry is not None and await self._hierarchy.put(place.key, entry, place.policy, now)
        return cache_pb2.PublishResponse(stored=stored, size_bytes=draft.size_bytes)

    async def Stats(self, request: cache_pb2.StatsRequest, context: Context) -> cache_pb2.StatsResponse:
        levels = [cache_pb2.LevelStats(**asdict(stats)) for stats in self._hierarchy.stats()]
        return cache_pb2.StatsResponse(levels=levels)

    def _place(self, tenant: str, key: str, policy: cache_pb2.Policy.ValueType) -> _Place:
        """Raises ShoalError FIELD_INVALID for a key or policy that is none."""
        name = _POLICY_NAMES.get(policy)
        if name is None:
            raise field_invalid("policy", "be a policy of this cache, such as POLICY_RESPONSE")
        return _Place(storage_key(tenant=tenant, policy=name, key=key), self._policies[name])


async def _begin(requests: AsyncIterator[cache_pb2.PublishRequest]) -> cache_pb2.PublishBegin:
    """The first step. Raises ShoalError FIELD_REQUIRED if it is another, or if there is none."""
    first = await anext(requests, None)
    if first is None or not first.HasField("begin"):
        raise field_required("begin")
    return first.begin


async def _collect(requests: AsyncIterator[cache_pb2.PublishRequest], draft: Draft) -> None:
    """Reads to the end of the call. Raises ShoalError unless the steps are any number of `append` and then `end`."""
    ended = False
    async for request in requests:
        if ended:
            raise field_invalid("end", "be the last step")
        match request.WhichOneof("step"):
            case "append":
                draft.append(request.append.events)
            case "end":
                ended = True
            case "begin":
                raise field_invalid("begin", "come once, as the first step")
            case _:
                raise field_required("step")
    if not ended:
        raise field_required("end")
