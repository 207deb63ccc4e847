"""Micro-batching: items that arrive at about the same time share one call."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Gathers items into calls of `send`, which answers them in their order.

    An item that arrives when nothing was sent lately leaves in the same tick of the event loop. What `send` raises,
    every asker of its batch gets, and with them those who wait for the next one. An asker that is cancelled leaves the
    call to the others: it is never cut off half-way.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        largest: int = 256,
        most_in_flight: int = 2,
        pause: Callable[[int], float] | None = None,
    ) -> None:
        """No batch is larger than `largest`. While `most_in_flight` of them are on their way, what arrives gathers for
        the next one. `pause` tells how many seconds after a batch of some size the next one may leave; what takes long
        enough by itself that others gather meanwhile needs none."""
        self._send = send
        self._largest = largest
        self._most_in_flight = most_in_flight
        self._pause = pause
        self._gathered: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._in_flight: set[asyncio.Task[None]] = set()
        self._flush_is_due = False
        self._next_flush = 0.0

    async def ask(self, item: Item) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._gathered.append((item, answer))
        self._schedule_flush()
        return await answer

    def _schedule_flush(self) -> None:
        if self._flush_is_due or not self._gathered or len(self._in_flight) == self._most_in_flight:
            return
        self._flush_is_due = True
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_flush:
            loop.call_at(self._next_flush, self._flush)
        else:
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        # Without those who have left while they waited, or were told of a failure.
        wanted = [each for each in self._gathered if not each[1].done()]
        batch, self._gathered = wanted[: self._largest], wanted[self._largest :]
        self._flush_is_due = False
        if not batch:
            return
        if self._pause is not None:
            self._next_flush = asyncio.get_running_loop().time() + self._pause(len(batch))
        task = asyncio.create_task(self._carry(batch))
        self._in_flight.add(task)
        task.add_done_callback(self._landed)
        self._schedule_flush()

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._schedule_flush()

    async def _carry(self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._send([item for item, _ in batch])
        except Exception as error:  # whatever it is, the askers are told
            waiting, self._gathered = self._gathered, []
            for _, answer in (*batch, *waiting):
                if not answer.done():
                    answer.set_exception(error)
        else:
            for (_, answer), value in zip(batch, answers, strict=True):
                if not answer.done():
                    answer.set_result(value)
