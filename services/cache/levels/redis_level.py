"""The shared level: Redis or Valkey, which expires and evicts by itself."""

import asyncio
import math
from collections.abc import Callable

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from meshkit.redis import FAILURES, LATE
from services.cache.entry import Entry
from services.cache.levels.entry_codec import decode, encode
from services.cache.levels.level import CorruptEntryError, LevelUnavailableError
from services.cache.outages.guard import PAUSE_SECONDS, Guard
from services.cache.outages.outage import Outage
from services.cache.policies import Policy

KEY_PREFIX = "shoal:cache:"
"""Before each storage key, so that the server can be used for other things too."""

# What is of another type makes GET an error, which is a table in Lua.
_SWAP = """
local here = redis.pcall('GET', KEYS[1])
if type(here) == 'table' or here == ARGV[1] then
  return redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
"""


class RedisLevel:
    """A Level over a client that its opener closes. A look-up or store takes at most `timeout_seconds`.

    Of what is computed the last store wins. `clock` is a steady clock in seconds, such as time.monotonic.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        timeout_seconds: float,
        clock: Callable[[], float],
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._redis = redis
        self._swap = redis.register_script(_SWAP)
        self._timeout_seconds = timeout_seconds
        self._guard = Guard(
            Outage("the cache Redis", setting="SHOAL_CACHE_REDIS_URL"),
            failures=FAILURES,
            late=LATE,
            refusal=LevelUnavailableError,
            meanwhile="answers are found and kept at the other levels",
            clock=clock,
            pause_seconds=pause_seconds,
        )
        self._stores = Guard(
            Outage("the cache Redis, for stores", setting="SHOAL_CACHE_REDIS_URL"),
            failures=(ResponseError,),
            refusal=LevelUnavailableError,
            meanwhile="what it has is found, and nothing is added",
            clock=clock,
            pause_seconds=pause_seconds,
        )
        """Within the other: a server that is full or a replica refuses to write, and can be read all the same."""

    async def get(self, key: str, now: float) -> Entry | None:
        with self._guard.use():
            async with asyncio.timeout(self._timeout_seconds):
                data = await self._data(key)
        if data is None:
            return None
        entry = decode(key, data)
        return entry if entry.is_live(now) else None

    async def put(self, key: str, entry: Entry, policy: Policy, now: float, *, promoted: bool = False) -> bool:
        left_ms = math.ceil((entry.expires - now) * 1000)
        if left_ms <= 0:
            return False
        data = encode(key, entry, compress=policy.compress)
        with self._guard.use(), self._stores.use():
            async with asyncio.timeout(self._timeout_seconds):
                if await self._redis.set(KEY_PREFIX + key, data, px=left_ms, nx=promoted):
                    return True
                here = await self._data(key)
                if here is None or _is_newer_or_same(key, here, entry):
                    return False
                return bool(await self._swap(keys=[KEY_PREFIX + key], args=[here, data, left_ms]))

    def holdings(self) -> None:
        """Only the server knows."""

    async def _data(self, key: str) -> bytes | None:
        """What is there; no bytes, and so no entry, if it is of a type that this level never writes."""
        try:
            data = await self._redis.get(KEY_PREFIX + key)
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            return b""
        return data if isinstance(data, bytes) else None


def _is_newer_or_same(key: str, data: bytes, entry: Entry) -> bool:
    """Than `entry`. What is no entry is neither."""
    try:
        return not entry.is_newer_than(decode(key, data))
    except CorruptEntryError:
        return False
