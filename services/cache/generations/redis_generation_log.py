"""The log of invalidations in the state Redis: small scripts change it atomically, by the server's clock."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from meshkit.redis import FAILURES
from services.cache.generations.generation_log import MOST_SCOPES, GenerationsUnavailableError
from services.cache.generations.generations import News

# The braces put both on one node of a cluster.
SCOPES_KEY = "cache:{generations}:scopes"
LOG_KEY = "cache:{generations}:log"
PAGE_SCOPES = 1000
"""No script reads or writes more scopes at once, so that nobody waits for long who shares the server."""

_FOLDER = Path(__file__).parent


class RedisGenerationLog:
    """The client belongs to the caller, who closes it, and may send a call twice.

    Each exchange with the server takes at most `timeout_seconds`; there is more than one only for more than PAGE_SCOPES
    scopes. `most_scopes` is how many the log keeps, the same for all processes.
    """

    def __init__(self, redis: Redis, *, timeout_seconds: float, most_scopes: int = MOST_SCOPES) -> None:
        self._timeout_seconds = timeout_seconds
        self._most_scopes = most_scopes
        self._since = _script(redis, "since.lua")
        self._invalidate = _script(redis, "invalidate.lua")
        self._restore = _script(redis, "restore.lua")

    async def since(self, generation: int, *, epoch: str) -> News:
        scopes: dict[str, int] = {}
        while True:
            page = await self._page(generation, epoch)
            if page.epoch != epoch:
                scopes.clear()
            scopes.update(page.scopes)
            if len(page.scopes) < PAGE_SCOPES:
                return replace(page, scopes=scopes)
            epoch, generation = page.epoch, max(page.scopes.values())

    async def invalidate(self, scope: str) -> int:
        async with self._exchange():
            return int(await self._invalidate(keys=[SCOPES_KEY, LOG_KEY], args=[scope, self._most_scopes]))

    async def restore(self, epoch: str, known: News) -> str:
        life, _, _ = epoch.rpartition(".")
        left = iter(known.scopes.items())
        is_last = False
        while epoch and not is_last:
            page = [part for row in islice(left, PAGE_SCOPES) for part in row]
            is_last = len(page) < 2 * PAGE_SCOPES
            # Until all scopes are there, nobody may take the log for one that knows them.
            beginning = known.beginning if is_last else ""
            epoch = await self._add([life, self._most_scopes, known.latest, beginning, known.floor, *page])
        return epoch

    async def _add(self, arguments: Sequence[str | int]) -> str:
        async with self._exchange():
            epoch: bytes = await self._restore(keys=[SCOPES_KEY, LOG_KEY], args=arguments)
            return epoch.decode()

    async def _page(self, generation: int, epoch: str) -> News:
        """The oldest invalidations after `generation`."""
        async with self._exchange():
            found, latest, beginning, floor, row = await self._since(
                keys=[SCOPES_KEY, LOG_KEY], args=[epoch, generation, PAGE_SCOPES]
            )
            pairs = zip(row[::2], row[1::2], strict=True)
            return News(
                epoch=found.decode(),
                latest=int(latest),
                beginning=int(beginning),
                floor=int(floor),
                scopes={scope.decode(): int(its) for scope, its in pairs},
            )

    @asynccontextmanager
    async def _exchange(self) -> AsyncIterator[None]:
        """Around a call and what is made of its answer: one that is none of our scripts' is a failure too."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except (*FAILURES, TypeError, ValueError, AttributeError) as error:
            raise GenerationsUnavailableError from error


def _script(redis: Redis, name: str) -> AsyncScript:
    # Sends the digest alone; when the server does not know it (restart, failover), loads it and tries once more.
    return redis.register_script((_FOLDER / "log.lua").read_text() + (_FOLDER / name).read_text())
