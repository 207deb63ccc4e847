"""Cached and computed answers through the whole mesh, side by side."""

import itertools
import statistics
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from load.cache.asking import NUMBER, WAYS, Asking
from load.measuring import ghz
from load.measuring.generator import MeasurementError
from load.measuring.home import Home
from load.measuring.keys import create_keys
from load.measuring.progress import say
from load.measuring.report import Cell, Table, spread
from load.measuring.servers import mesh, simulated_model
from load.measuring.speed import Load, Speed

FIRST_TOKEN_SECONDS = 0.3
OUTPUT_TOKENS = 60
AT_ONCE = 16
_ENOUGH_FOR_P99 = 100
WARM_UP = Load(AT_ONCE * 4, AT_ONCE, 2)


@dataclass(frozen=True, slots=True)
class Kind:
    """Answers that come from the cache, or that do not, and how many of them are measured."""

    name: str
    is_hit: bool
    alone: Load
    together: Load


HIT = Kind("hit", True, alone=Load(200, 1, 1), together=Load(1200, AT_ONCE, 2))
MISS = Kind("miss", False, alone=Load(12, 1, 1), together=Load(96, AT_ONCE, 2))


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured: with one request at a time, and with many."""

    way: str
    kind: Kind
    alone: list[Speed] = field(default_factory=list)
    together: list[Speed] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Mesh:
    """A mesh and its model."""

    asking: Asking
    model: str
    series: Iterator[int]
    """Numbers each run of new tasks."""

    async def ask(self, way: str, kind: Kind, load: Load) -> Speed:
        """Asks again and again."""
        task = "Describe a shoal." if kind.is_hit else f"Describe shoal {NUMBER} of series {next(self.series)}."
        return await WAYS[way](self.asking, task, load)

    async def measure(self, way: str, kind: Kind, load: Load) -> Speed:
        """The same. Raises MeasurementError unless just the misses have reached the model."""
        before = await self._model_calls()
        speed = await self.ask(way, kind, load)
        computed = await self._model_calls() - before
        if computed != (0 if kind.is_hit else load.calls):
            raise MeasurementError(f"{way}, {kind.name}: of {load.calls} answers {computed} were computed")
        return speed

    async def _model_calls(self) -> int:
        async with aiohttp.request("GET", f"{self.model}/calls") as response:
            return int((await response.json())["begun"])


async def hits_beside_misses(rounds: int) -> Table:
    """Every way to ask, cached and not, in turns."""
    rows = [Row(way, kind) for way in WAYS for kind in (HIT, MISS)]
    async with _running() as running:
        for row in rows:
            await running.ask(row.way, row.kind, WARM_UP)
        for number in range(1, rounds + 1):
            say(f"mesh: round {number} of {rounds}")
            for row in rows:
                row.alone.append(await running.measure(row.way, row.kind, row.kind.alone))
                row.together.append(await running.measure(row.way, row.kind, row.kind.together))
    return table_of(rows, rounds=rounds)


@asynccontextmanager
async def _running() -> AsyncIterator[_Mesh]:
    generator = await ghz.find()
    profile = (f"--first-token=fixed:{FIRST_TOKEN_SECONDS}", f"--output-tokens={OUTPUT_TOKENS}")
    async with (
        Home.made() as home,
        simulated_model(home, *profile) as model,
        mesh(home, {"SHOAL_MODEL_BASE_URL": f"{model}/v1"}) as running,
    ):
        [api_key] = await create_keys(home, running.inner_address, ["bench"])
        yield _Mesh(Asking(generator, running.address, api_key), model, itertools.count())


def table_of(rows: Sequence[Row], *, rounds: int) -> Table:
    table = Table(
        "Cached answers through the whole mesh, beside computed ones",
        ("asked by", "answer", "p50, ms", "p99, ms", f"calls/s, {AT_ONCE} at a time, median", "lowest", "highest"),
        note=f"In turns, rounds: {rounds}. Latencies are of one request at a time ({HIT.alone.calls} hits and "
        f"{MISS.alone.calls} misses a round, too few for a p99; medians over the rounds), rates of "
        f"{HIT.together.calls} and {MISS.together.calls}. The default mesh, all on this machine. The model is "
        f"simulated: its first word comes after {1000 * FIRST_TOKEN_SECONDS:.0f} ms and all {OUTPUT_TOKENS} at once. "
        "REST is asked by a Python client of ours (aiohttp), gRPC by ghz. A GET is answered with 304 if it is a hit, "
        "and in full if it is not.",
    )
    for row in rows:
        p50 = statistics.median(speed.p50_ms for speed in row.alone)
        rates = [speed.calls_per_second for speed in row.together]
        table.rows.append((row.way, row.kind.name, p50, _p99(row), *spread(rates)))
    return table


def _p99(row: Row) -> Cell:
    """Of too few calls it would be the slowest."""
    if row.kind.alone.calls < _ENOUGH_FOR_P99:
        return "-"
    return statistics.median(speed.p99_ms for speed in row.alone)
