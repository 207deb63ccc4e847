"""A server's look at its connections."""

import asyncio
from typing import Any

from meshkit import background
from meshkit.http1.server import Http1Server


class Connection:
    """One that is overdue or not."""

    def __init__(self, *, is_late: bool) -> None:
        self.is_late = is_late
        self.gone = asyncio.Event()
        self.looked_at = asyncio.Event()

    def is_overdue(self, now: float) -> bool:
        self.looked_at.set()
        return self.is_late

    def cut_off(self) -> None:
        self.gone.set()


async def test_who_is_overdue_is_cut_off_whenever_that_is_and_nobody_else() -> None:
    server = Http1Server()
    late, other = Connection(is_late=True), Connection(is_late=False)
    joined: Any = (late, other)
    for each in joined:
        server.join(each)
    async with asyncio.timeout(10), background.running(server.watch(every_seconds=0)):
        await late.gone.wait()
        for _ in range(2):
            other.looked_at.clear()
            await other.looked_at.wait()
        assert not other.gone.is_set()
        other.is_late = True
        await other.gone.wait()
