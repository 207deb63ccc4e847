"""Questions that arrive together travel together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST_TOGETHER = 256
MOST_ON_THE_WAY = 2
"""While so many batches are on their way, what arrives gathers for the next one."""
PACE_SECONDS = 0.001
"""How long each item of a batch holds back the next batch: when more than one arrives in this time, they gather.

A busy event loop sees one item a tick, so without a pace each would travel alone.
"""
LONGEST_PAUSE_SECONDS = 0.005


class Batcher(Generic[Item, Answer]):
    """Gathers the items of one tick of the event loop into one call of `send`, which answers them in their order.

    An item alone waits for nothing. What `send` raises, every asker of its batch gets, and with them those who wait
    for the next one. An asker that is cancelled leaves the call to the others: it is never cut off half-way.
    """

    def __init__(
        self, send: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], *, pace_seconds: float = PACE_SECONDS
    ) -> None:
        self._send = send
        self._pace_seconds = pace_seconds
        self._gathered: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._on_the_way: set[asyncio.Task[None]] = set()
        self._is_due = False
        self._next_departure = 0.0

    async def ask(self, item: Item) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._gathered.append((item, answer))
        self._arrange_departure()
        return await answer

    def _arrange_departure(self) -> None:
        if self._is_due or not self._gathered or len(self._on_the_way) == MOST_ON_THE_WAY:
            return
        self._is_due = True
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_departure:
            loop.call_at(self._next_departure, self._depart)
        else:
            loop.call_soon(self._depart)

    def _depart(self) -> None:
        batch, self._gathered = self._gathered[:MOST_TOGETHER], self._gathered[MOST_TOGETHER:]
        self._is_due = False
        if not batch:
            return
        self._next_departure = asyncio.get_running_loop().time() + min(
            len(batch) * self._pace_seconds, LONGEST_PAUSE_SECONDS
        )
        task = asyncio.create_task(self._carry(batch))
        self._on_the_way.add(task)
        task.add_done_callback(self._arrived)
        self._arrange_departure()

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._on_the_way.discard(task)
        self._arrange_departure()

    async def _carry(self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        wanted = [(item, answer) for item, answer in batch if not answer.done()]
        try:
            answers = await self._send([item for item, _ in wanted])
        except Exception as error:  # whatever it is, the askers are told
            waiting, self._gathered = self._gathered, []
            for _, answer in (*wanted, *waiting):
                if not answer.done():
                    answer.set_exception(error)
        else:
            for (_, answer), value in zip(wanted, answers, strict=True):
                if not answer.done():
                    answer.set_result(value)
