"""How many questions a second one limiter answers, beside an empty RPC, and how many of them share a round trip."""

import statistics
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from load.limits import foreign, ghz, metrics, questions
from load.limits.ghz import Load, Speed
from load.limits.programs import Home, Limiter
from load.limits.progress import say
from load.limits.report import Table, spread

LOAD = Load(calls=6000, workers=50, connections=2)
WARM_UP = Load(calls=1000, workers=50, connections=2)
WORKERS = (1, 10, 50, 200)
_ECHO = "empty RPC"
_REFUSED = "an API key whose bucket is empty"
# So large that nothing is refused, and enforced like any other.
_TIERS = "anonymous=100000/200000,bench=100000/200000,spent=0.001/1"


async def beside_an_empty_rpc(rounds: int) -> Table:
    """The limiter and the empty RPC in turns, so that both meet the same moods of the machine."""
    generator = await ghz.find()
    async with Home.made() as home, home.valkey(), home.echo() as echo, _limiter(home) as limiter:
        asked = await _questions(home, limiter)
        targets = {_ECHO: (echo, asked["a known API key"])}
        targets |= {name: (limiter.envoy_address, question) for name, question in asked.items()}
        measured: dict[str, list[Speed]] = {name: [] for name in targets}
        for address, question in targets.values():
            await ghz.measure(generator, address, question, WARM_UP)
        await _check(limiter, asked)
        for number in range(1, rounds + 1):
            say(f"speed: round {number} of {rounds}")
            for name, (address, question) in targets.items():
                measured[name].append(await ghz.measure(generator, address, question, LOAD))
        alone = await metrics.decided_alone([limiter.metrics_port])
    return _speed_table(measured, alone)


def _limiter(home: Home) -> AbstractAsyncContextManager[Limiter]:
    return home.limiter(settings={"SHOAL_TIERS": _TIERS, **foreign.settings(home.folder)})


async def _questions(home: Home, limiter: Limiter) -> dict[str, bytes]:
    known, spent = await home.create_keys(limiter, ["bench", "spent"])
    return {
        "a known API key": questions.from_client("10.0.0.1/32", api_key=known),
        "no API key": questions.from_client("10.0.0.2/32", api_key=None),
        _REFUSED: questions.from_client("10.0.0.3/32", api_key=spent),
        "a descriptor of another Envoy's": foreign.passing(),
    }


async def _check(limiter: Limiter, asked: Mapping[str, bytes]) -> None:
    """Raises RuntimeError if something else would be measured than the table says."""
    for name, question in asked.items():
        if await questions.admits(limiter.envoy_address, question) == (name == _REFUSED):
            raise RuntimeError(f"the limiter's answer about {name} is not the one that was to be measured")


def _speed_table(measured: Mapping[str, Sequence[Speed]], alone: int) -> Table:
    table = Table(
        "`ShouldRateLimit` through one limiter, beside an empty RPC of the same kind of server",
        ("question with", "calls/s, median", "lowest", "highest", "of the empty RPC, median", "lowest", "highest",
         "p50, ms", "p99, ms"),
        note=f"{LOAD.calls} calls a round by {LOAD.workers} workers over {LOAD.connections} connections, "
        f"in turns, rounds: {len(measured[_ECHO])}. Each share is of the empty RPC in the same round. "
        f"Decisions without Redis, as if it were gone: {alone}.",
    )  # fmt: skip
    for name, speeds in measured.items():
        rates = [speed.calls_per_second for speed in speeds]
        shares = [rate / empty.calls_per_second for rate, empty in zip(rates, measured[_ECHO], strict=True)]
        p50 = statistics.median(speed.p50_ms for speed in speeds)
        p99 = statistics.median(speed.p99_ms for speed in speeds)
        table.rows.append((name, *spread(rates), *spread(shares), p50, p99))
    return table


async def together(rounds: int) -> Table:
    """How many decisions share a round trip to Redis when more of them are asked for at the same time."""
    generator = await ghz.find()
    table = Table(
        "Decisions that share a round trip to Redis",
        ("at the same time", "decisions per round trip, median", "lowest", "highest", "calls/s, median", "p99, ms"),
        note=f"One limiter, a known API key, rounds: {rounds}.",
    )
    async with Home.made() as home, home.valkey(), _limiter(home) as limiter:
        question = (await _questions(home, limiter))["a known API key"]
        for workers in WORKERS:
            say(f"batches: {workers} at the same time")
            shared = [await _shared(generator, limiter, question, workers) for _ in range(rounds)]
            rate = statistics.median(speed.calls_per_second for _, speed in shared)
            p99 = statistics.median(speed.p99_ms for _, speed in shared)
            table.rows.append((workers, *spread([decisions for decisions, _ in shared]), rate, p99))
    return table


async def _shared(generator: Path, limiter: Limiter, question: bytes, workers: int) -> tuple[float, Speed]:
    """Decisions per round trip, and the speed."""
    load = Load(calls=max(500, 20 * workers), workers=workers, connections=min(workers, LOAD.connections))
    before = await metrics.read(limiter.metrics_port)
    speed = await ghz.measure(generator, limiter.envoy_address, question, load)
    after = await metrics.read(limiter.metrics_port)
    decisions, trips = (after[name] - before[name] for name in (metrics.BATCHED, metrics.BATCHES))
    return decisions / trips, speed
