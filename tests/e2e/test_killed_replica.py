"""A replica is killed under steady load: only its own requests are lost, and it comes back."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from tests.mesh import Mesh, running_mesh
from tests.simulated_model import simulated_model

STREAMS = 12
BACK_WITHIN_SECONDS = 10


@dataclass
class Outcome:
    """How one stream went."""

    replica: str = ""
    completed: bool = False
    error: dict[str, object] = field(default_factory=dict)


@dataclass
class Load:
    """Streams that follow one another, `STREAMS` at a time, until it is stopped."""

    url: str
    key: str
    outcomes: list[Outcome] = field(default_factory=list)
    stopped: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def stream(self, client: httpx.AsyncClient, number: int) -> None:
        outcome = Outcome()
        self.outcomes.append(outcome)
        body = {"task": f"Say {number}.", "stream": True, "cache": {"mode": "bypass"}}
        headers = {"X-API-Key": self.key}
        async with client.stream("POST", f"{self.url}/api/v1/task", json=body, headers=headers) as response:
            if response.status_code != 200:
                outcome.error = json.loads(await response.aread())
                return
            failed = False
            async for line in response.aiter_lines():
                failed = failed or line == "event: error"
                if line == "data: [DONE]":
                    outcome.completed = True
                elif line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    outcome.replica = outcome.replica or event.get("replica", "")
                    outcome.error = event if failed else {}
                self.changed.set()

    async def work(self, client: httpx.AsyncClient, worker: int) -> None:
        number = worker
        while not self.stopped:
            await self.stream(client, number)
            number += STREAMS

    async def reaches(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def completed_by(load: Load, replica: str, *, since: int = 0) -> int:
    return sum(outcome.replica == replica and outcome.completed for outcome in load.outcomes[since:])


async def drive(mesh: Mesh) -> tuple[Load, int, float]:
    """Runs the load, kills agent-2 in the middle, and waits until it serves again. Returns the load, how many streams
    had begun when it was killed, and the seconds until it served."""
    load = Load(mesh.url, mesh.api_key)
    limits = httpx.Limits(max_connections=2 * STREAMS)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client, asyncio.TaskGroup() as workers:
        for worker in range(STREAMS):
            workers.create_task(load.work(client, worker))
        await load.reaches(lambda: all(completed_by(load, f"agent-{number}") >= 2 for number in (1, 2, 3)))
        await load.reaches(lambda: any(o.replica == "agent-2" and not o.completed for o in load.outcomes[-STREAMS:]))
        begun = len(load.outcomes)
        killed_at = asyncio.get_running_loop().time()
        os.kill(mesh.pid("agent-2"), signal.SIGKILL)
        await load.reaches(lambda: completed_by(load, "agent-2", since=begun) >= 2)
        seconds = asyncio.get_running_loop().time() - killed_at
        load.stopped = True
    return load, begun, seconds


async def test_only_the_streams_of_a_killed_replica_are_lost() -> None:
    async with simulated_model("--tokens-per-second", "fixed:60", "--output-tokens", "20") as model:
        with running_mesh(SHOAL_MODEL_BASE_URL=f"{model.url}/v1") as mesh:
            load, begun, seconds = await drive(mesh)
            log = mesh.output()
    lost = [outcome for outcome in load.outcomes if not outcome.completed]
    assert lost, "agent-2 was writing when it was killed"
    assert {outcome.replica for outcome in lost} <= {"agent-2", ""}
    assert all(outcome.error.get("code") == "UNAVAILABLE" for outcome in lost), lost
    # Whoever had not been told a replica yet was on the way to it when it died; what came later went elsewhere.
    assert all(load.outcomes.index(outcome) < begun + STREAMS for outcome in lost)
    assert len(lost) <= STREAMS
    assert seconds < BACK_WITHIN_SECONDS
    assert "agent-2" in log
