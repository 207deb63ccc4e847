"""How many questions a second one limiter answers, beside an empty RPC, and how many of them share a round trip."""

import statistics
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from load.limits import decisions, foreign, questions
from load.limits.limiters import Limiter, running_limiter
from load.measuring import ghz, metrics, turns
from load.measuring.generator import MeasurementError
from load.measuring.ghz import Call
from load.measuring.home import Home
from load.measuring.keys import create_keys
from load.measuring.progress import say
from load.measuring.report import Table, spread
from load.measuring.servers import Valkey, echo
from load.measuring.speed import Load, Speed
from load.measuring.turns import Target

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
    async with (
        Home.made() as home,
        Valkey(home).running() as redis_url,
        echo(home, questions.RPC) as empty,
        _limiter(home, redis_url) as limiter,
    ):
        asked = await _questions(home, limiter)
        targets = {_ECHO: Target(empty, Call(questions.RPC, asked["a known API key"]))}
        targets |= {name: Target(limiter.envoy_address, Call(questions.RPC, asks)) for name, asks in asked.items()}
        await turns.once(generator, targets, WARM_UP)
        await _check(limiter, asked)
        measured = await turns.in_turns(generator, targets, LOAD, rounds=rounds)
        alone = await decisions.decided_alone([limiter.metrics_port])
    return turns.comparison(
        "`ShouldRateLimit` through one limiter, beside an empty RPC of the same kind of server",
        "question with",
        measured,
        empty=_ECHO,
        note=f"{turns.conditions(LOAD, rounds)} Decisions without Redis, as if it were gone: {alone}.",
    )


def _limiter(home: Home, redis_url: str) -> AbstractAsyncContextManager[Limiter]:
    return running_limiter(home, redis_url, settings={"SHOAL_TIERS": _TIERS, **foreign.settings(home.folder)})


async def _questions(home: Home, limiter: Limiter) -> dict[str, bytes]:
    known, spent = await create_keys(home, limiter.address, ["bench", "spent"])
    return {
        "a known API key": questions.from_client("10.0.0.1/32", api_key=known),
        "no API key": questions.from_client("10.0.0.2/32", api_key=None),
        _REFUSED: questions.from_client("10.0.0.3/32", api_key=spent),
        "a descriptor of another Envoy's": foreign.passing(),
    }


async def _check(limiter: Limiter, asked: Mapping[str, bytes]) -> None:
    """Raises MeasurementError if something else would be measured than the table says."""
    for name, question in asked.items():
        if await questions.admits(limiter.envoy_address, question) == (name == _REFUSED):
            raise MeasurementError(f"the limiter's answer about {name} is not the one that was to be measured")


async def together(rounds: int) -> Table:
    """How many decisions share a round trip to Redis when more of them are asked for at the same time."""
    generator = await ghz.find()
    table = Table(
        "Decisions that share a round trip to Redis",
        ("at the same time", "decisions per round trip, median", "lowest", "highest", "calls/s, median", "p99, ms"),
        note=f"One limiter, a known API key, rounds: {rounds}.",
    )
    async with Home.made() as home, Valkey(home).running() as redis_url, _limiter(home, redis_url) as limiter:
        question = (await _questions(home, limiter))["a known API key"]
        for workers in WORKERS:
            say(f"batches: {workers} at the same time")
            shared = [await _shared(generator, limiter, question, workers) for _ in range(rounds)]
            rate = statistics.median(speed.calls_per_second for _, speed in shared)
            p99 = statistics.median(speed.p99_ms for _, speed in shared)
            table.rows.append((workers, *spread([decided for decided, _ in shared]), rate, p99))
    return table


async def _shared(generator: str, limiter: Limiter, question: bytes, workers: int) -> tuple[float, Speed]:
    """Decisions per round trip, and the speed."""
    load = Load(calls=max(500, 20 * workers), workers=workers, connections=min(workers, LOAD.connections))
    names = (decisions.BATCHED, decisions.BATCHES)
    before = await metrics.read(limiter.metrics_port, *names)
    speed = await ghz.measure(generator, limiter.envoy_address, Call(questions.RPC, question), load)
    after = await metrics.read(limiter.metrics_port, *names)
    decided, trips = (now - then for now, then in zip(after, before, strict=True))
    return decided / trips, speed
