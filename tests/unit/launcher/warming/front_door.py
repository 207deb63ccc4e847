"""A front door in memory, for runs of warming."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from launcher.cache.warming.answers import Reply
from launcher.cache.warming.front_door import NoAnswerError
from launcher.cache.warming.journal import Journal
from launcher.cache.warming.report import Report
from launcher.cache.warming.tasks import BadLine, Task, Wishes, read_tasks
from launcher.cache.warming.warmer import Warmer

USAGE = {"input_tokens": 3, "output_tokens": 4, "cost_usd": 0.5}


def answer(status: str, **cache: Any) -> Reply:
    said = {"output": "Yes.", "finish_reason": "stop", "usage": USAGE, "cache": {"status": status, **cache}}
    return Reply(200, json.dumps(said).encode())


def busy(after_seconds: float) -> Reply:
    return Reply(503, json.dumps({"error": "Busy.", "reason": "BUSY", "retry_after_seconds": after_seconds}).encode())


KEPT = answer("miss", ttl_seconds=100.0)


class MemoryDoor:
    """Answers a task with the replies prepared for it, in their order, else with KEPT; None stands for no answer."""

    def __init__(self, replies: Mapping[str, list[Reply | None]], on_task: Callable[[str], None]) -> None:
        self._replies = replies
        self._on_task = on_task
        self.asked: list[tuple[str, str]] = []
        """The tasks with their modes."""
        self.most_at_once = self._at_once = 0

    async def post(self, body: Mapping[str, Any]) -> Reply:
        self.asked.append((body["task"], body["cache"]["mode"]))
        self._on_task(body["task"])
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(0)
        self._at_once -= 1
        prepared = self._replies.get(body["task"], [])
        reply = prepared.pop(0) if prepared else KEPT
        if reply is None:
            raise NoAnswerError("nobody is there")
        return reply

    def tasks(self) -> list[str]:
        return [task for task, _ in self.asked]


class Run:
    """One run over the lines, or over `tasks`, with a journal in memory; `replies` are by task."""

    def __init__(
        self,
        *lines: str,
        tasks: Iterator[Task | BadLine] | None = None,
        replies: Mapping[str, list[Reply | None]] | None = None,
        journal: io.StringIO | None = None,
        now: float = 0.0,
        at_once: int = 1,
        patience_seconds: float = 60.0,
        stop_at: str = "",
    ) -> None:
        self.journal = journal or io.StringIO()
        self.stop = asyncio.Event()
        self.report = Report(lambda: None)
        self.door = MemoryDoor(replies or {}, lambda task: self.stop.set() if task == stop_at else None)
        self._lines = len(lines)
        self._tasks = tasks or read_tasks(io.BytesIO("\n".join(lines).encode()), Wishes(ttl_seconds=100))
        self._at_once = at_once
        self._warmer = Warmer(
            self.door,
            destination="here",
            journal=Journal(self.journal, clock=lambda: now),
            report=self.report,
            stop=self.stop,
            patience_seconds=patience_seconds,
        )

    async def done(self) -> str:
        """Runs to its end. Returns the report."""
        await self._warmer.run(self._tasks, at_once=self._at_once)
        return self.report.text(lines=self._lines, seconds=1.0)
