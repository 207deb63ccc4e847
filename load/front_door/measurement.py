"""The measurement: scenarios on meshes with a number of agents each, on each of the models, in rounds."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar, get_args

import aiohttp

from load.front_door.protocols import PATH, PROTOCOLS, Ask, Asking, Generators, Protocol, rest_body
from load.front_door.results import Row
from load.front_door.scenario import NUMBER, Callers, Model, Scenario
from load.front_door.tiers import admits
from load.measuring.generator import MeasurementError
from load.measuring.home import Home
from load.measuring.keys import create_keys
from load.measuring.progress import say
from load.measuring.servers import Mesh, mesh, simulated_model
from load.measuring.speed import Outcome, TimedLoad

MODELS: Sequence[Model] = get_args(Model)
TIER = "bench"
SETTINGS = {"SHOAL_FLOOD_PER_SECOND": "1000000", "SHOAL_FLOOD_BURST": "1000000"}
"""All load comes from one address, which the flood guard would refuse at 1,000 requests per second."""
_WARM_UP_SECONDS = 1
_MOST_TRIES = 5
_FIRST_ANSWER = aiohttp.ClientTimeout(total=60)

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class _Running:
    """A mesh that is ready to be asked, in one round."""

    round: int
    home: Home
    mesh: Mesh
    generators: Generators
    model: Model
    replicas: int
    series: Iterator[int]
    """Numbers the runs, so that no two ask the same new questions."""

    async def runs(self, scenarios: Mapping[str, Scenario], seconds: int) -> list[Row]:
        """Each of the scenarios by each protocol."""
        runs = list(itertools.product(scenarios.items(), PROTOCOLS))
        rows: list[Row] = []
        for (name, scenario), protocol in in_turn(runs, self.round):
            rows += await self._run(name, scenario, protocol, seconds)
        return rows

    async def _run(self, name: str, scenario: Scenario, protocol: Protocol, seconds: int) -> list[Row]:
        """All its callers at the same time, with new keys: their buckets are full."""
        say(f"round {self.round}, {self.model} model, {self.replicas} agents: {name} by {protocol}")
        keys = await create_keys(self.home, self.mesh.inner_address, [callers.tier for callers in scenario.callers])
        outcomes = await self._all(PROTOCOLS[protocol], scenario.callers, keys, seconds)
        return [
            self._row(callers, outcome, name, protocol)
            for callers, outcome in zip(scenario.callers, outcomes, strict=True)
        ]

    async def warm_up(self, scenarios: Mapping[str, Scenario]) -> None:
        """What can be cached is, and every process has had work. Raises MeasurementError if a task is not answered."""
        [key] = await create_keys(self.home, self.mesh.inner_address, [TIER])
        for callers in itertools.chain(*(scenario.callers for scenario in scenarios.values())):
            for task in callers.cycle(self.model):
                if NUMBER not in task:
                    await self._cache(rest_body(task, callers, self.model), key)
        first = next(iter(scenarios.values())).callers
        for ask in PROTOCOLS.values():
            await self._all(ask, first, [key] * len(first), _WARM_UP_SECONDS)

    async def _all(self, ask: Ask, callers: Sequence[Callers], keys: Sequence[str], seconds: int) -> list[Outcome]:
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(ask(self._asking(each, key), self._load(each, seconds)))
                for each, key in zip(callers, keys, strict=True)
            ]
        return [task.result() for task in asked]

    def _asking(self, callers: Callers, key: str) -> Asking:
        return Asking(self.generators, self.mesh.address, key, callers, self.model, next(self.series))

    def _load(self, callers: Callers, seconds: int) -> TimedLoad:
        return TimedLoad(seconds, callers.number_at_once(self.model))

    def _row(self, callers: Callers, outcome: Outcome, scenario: str, protocol: Protocol) -> Row:
        return Row(
            round=self.round,
            scenario=scenario,
            model=self.model,
            replicas=self.replicas,
            protocol=protocol,
            callers=callers.name,
            tier=callers.tier,
            at_once=callers.number_at_once(self.model),
            seconds=outcome.seconds,
            answered=outcome.answered,
            errors=dict(outcome.errors),
            p50_ms=outcome.p50_ms,
            p95_ms=outcome.p95_ms,
            p99_ms=outcome.p99_ms,
            admits=admits(callers.tier, outcome.seconds),
        )

    async def _cache(self, body: Mapping[str, object], key: str) -> None:
        """Answers that were cut off are not kept; how long one is, is a model's own choice each time."""
        for _ in range(_MOST_TRIES):
            if await self._is_hit(body, key):
                return
        raise MeasurementError(f"the answer to {body} is not kept: see that max_tokens is enough for all of it")

    async def _is_hit(self, body: Mapping[str, object], key: str) -> bool:
        async with (
            aiohttp.ClientSession(timeout=_FIRST_ANSWER) as session,
            session.post(f"http://{self.mesh.address}{PATH}", json=body, headers={"X-API-Key": key}) as response,
        ):
            if response.status != 200:
                raise MeasurementError(f"{body} was answered {response.status}: {await response.text()}")
            return bool((await response.json())["cache"]["status"] == "hit")


async def measured(
    scenarios: Mapping[str, Scenario], models: Sequence[Model], replicas: Sequence[int], *, rounds: int, seconds: int
) -> list[Row]:
    """In each round, each of the scenarios by each protocol on each mesh. Raises MeasurementError, StartError."""
    generators = await Generators.found()
    suitable = {model: {name: each for name, each in scenarios.items() if model in each.models} for model in models}
    meshes = [(model, count) for model in models if suitable[model] for count in replicas]
    rows: list[Row] = []
    for number in range(1, rounds + 1):
        for model, count in in_turn(meshes, number):
            async with _running(number, generators, model, count) as running:
                await running.warm_up(suitable[model])
                rows += await running.runs(suitable[model], seconds)
    return rows


def in_turn(things: Sequence[Thing], number: int) -> Sequence[Thing]:
    """Their order in the round with that number, from 1 on. Who was first in one comes last in the next."""
    return things if number % 2 else things[::-1]


@asynccontextmanager
async def _running(number: int, generators: Generators, model: Model, replicas: int) -> AsyncIterator[_Running]:
    """With its model. Each has a home of its own: it begins with nothing, and what a round leaves no other finds."""
    settings = SETTINGS | {"SHOAL_AGENT_REPLICAS": str(replicas)}
    async with Home.made() as home, _model(home, model) as of_model, mesh(home, settings | of_model) as started:
        yield _Running(number, home, started, generators, model, replicas, itertools.count())


@asynccontextmanager
async def _model(home: Home, model: Model) -> AsyncIterator[dict[str, str]]:
    """What the mesh must be told of it; the local one it starts itself."""
    if model == "local":
        yield {}
        return
    async with simulated_model(home) as address:
        yield {"SHOAL_MODEL_BASE_URL": f"{address}/v1"}
