"""The same load on each replica of a mesh that is scaled from one count to the next."""

import itertools
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from load.cache.caller import metadata
from load.measuring import fleet, ghz, wrk
from load.measuring.generator import MeasurementError
from load.measuring.ghz import Call
from load.measuring.home import Home
from load.measuring.keys import create_keys
from load.measuring.progress import say
from load.measuring.rpc import Rpc
from load.measuring.servers import Mesh, mesh, simulated_model
from load.measuring.speed import Outcome, TimedLoad
from load.measuring.waiting import until
from load.measuring.wrk import RestRequest
from load.replicas.results import FULL, MODEL_SECONDS, SLOTS, Cell, Run, Series

_EXECUTE = Rpc("shoal.agent.v1.agent_pb2", "AgentService", "Execute")
_WARM_UP_SECONDS = 2
_IDLE_SECONDS = 10.0
SETTINGS: Mapping[str, str] = {
    "SHOAL_AGENT_REPLICAS": "1",
    "SHOAL_AGENT_SLOTS": str(SLOTS),
    # All load comes from one address.
    "SHOAL_FLOOD_PER_SECOND": "100000",
    "SHOAL_FLOOD_BURST": "100000",
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """A mesh with its model, under load."""

    ghz: str
    wrk: str
    """Empty if REST is not measured."""
    home: Home
    mesh: Mesh
    model: str
    api_key: str
    numbers: Iterator[int]
    """Of the runs, so that no task of one is like one of another."""

    async def scale(self, replicas: int) -> None:
        """The mesh has so many agents, and Envoy's threads know them all."""
        await fleet.scale(self.home, "agent", replicas)
        await self._asked(FULL, replicas, _WARM_UP_SECONDS, direct=False)

    async def run(self, series: Series, replicas: int, seconds: int, *, direct: bool) -> Run:
        """Raises MeasurementError if answers did not come from the model, or were too few."""
        await until("the end of the last run's calls", self._is_idle, seconds=_IDLE_SECONDS)
        await self._reset_model()
        outcome = await self._asked(series, replicas, seconds, direct=direct)
        computed = (await self._model_calls())["completed"]
        if computed < outcome.answered:
            raise MeasurementError(f"{series.name}: of {outcome.answered} answers the model gave only {computed}")
        return Run.of(outcome)

    async def _asked(self, series: Series, replicas: int, seconds: int, *, direct: bool) -> Outcome:
        load = TimedLoad(seconds, series.callers(replicas))
        if series.surface == "REST":
            return await wrk.measure(self.wrk, f"http://{self.mesh.address}/api/v1/task", self._request(), load)
        address, sent = self.mesh.address, {"x-api-key": self.api_key}
        if direct:
            address, sent = await self._agent(), dict(metadata(self.home))
        task = {"task": self._task("{{.RequestNumber}}"), "cache": {"mode": "CACHE_MODE_BYPASS"}}
        return await ghz.measure_for(self.ghz, address, Call(_EXECUTE, json.dumps(task), sent), load)

    def _request(self) -> RestRequest:
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-API-Key": self.api_key}
        return RestRequest("POST", headers, [json.dumps({"task": self._task("{number}")})])

    def _task(self, number: str) -> str:
        return f"Describe shoal {number} of series {next(self.numbers)}."

    async def _agent(self) -> str:
        """Where the only agent listens."""
        [agent] = [row for row in await fleet.listed(self.home) if row.service == "agent"]
        return f"127.0.0.1:{agent.port}"

    async def _is_idle(self) -> bool:
        return (await self._model_calls())["concurrent"] == 0

    async def _reset_model(self) -> None:
        async with aiohttp.request("DELETE", f"{self.model}/calls") as response:
            response.raise_for_status()

    async def _model_calls(self) -> dict[str, int]:
        async with aiohttp.request("GET", f"{self.model}/calls") as response:
            told = await response.json()
        return {name: told[name] for name in ("completed", "concurrent")}


async def measured(counts: Sequence[int], shown: Sequence[Series], *, rounds: int, seconds: int) -> list[Cell]:
    """Every series with every number of replicas, all of them once in each round; a single one without Envoy, too."""
    cells = [Cell(series, count, direct=False) for count in counts for series in shown]
    cells += [Cell(series, 1, direct=True) for series in shown if series.surface == "gRPC" and 1 in counts]
    cells.sort(key=lambda cell: cell.replicas)
    async with _running(shown) as measurement:
        for number in range(1, rounds + 1):
            for count, group in itertools.groupby(cells, key=lambda cell: cell.replicas):
                say(f"replicas: round {number} of {rounds}, {count} of them")
                await measurement.scale(count)
                for cell in group:
                    cell.runs.append(await measurement.run(cell.series, count, seconds, direct=cell.direct))
    return cells


@asynccontextmanager
async def _running(shown: Sequence[Series]) -> AsyncIterator[Measurement]:
    """A mesh with one agent, and a model that only waits."""
    asks_rest = any(series.surface == "REST" for series in shown)
    found = await ghz.find(), await wrk.find() if asks_rest else ""
    profile = (f"--first-token=fixed:{MODEL_SECONDS}", "--output-tokens=20")
    async with (
        Home.made() as home,
        simulated_model(home, *profile) as model,
        mesh(home, {"SHOAL_MODEL_BASE_URL": f"{model}/v1", **SETTINGS}) as started,
    ):
        await fleet.all_ready(home)
        [api_key] = await create_keys(home, started.inner_address, ["bench"])
        yield Measurement(*found, home, started, model, api_key, itertools.count())
