"""How many look-ups a second one cache answers, beside an empty RPC."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from load.cache.answers import ANSWER_BYTES, SHAPES, answer, key
from load.cache.cache_process import CacheProcess, running_cache
from load.cache.caller import OPEN, metadata, open_request
from load.measuring import ghz, turns
from load.measuring.generator import MeasurementError
from load.measuring.ghz import Call
from load.measuring.home import Home
from load.measuring.report import Table
from load.measuring.servers import Valkey, echo
from load.measuring.speed import Load
from load.measuring.turns import Target

LOAD = Load(calls=6000, workers=50, connections=2)
WARM_UP = Load(calls=1000, workers=50, connections=2)
_ECHO = "empty RPC"
_UNKNOWN = key(0)
# On a busy machine a look-up that takes longer than the usual 0.1 s shall be measured, and not become a miss.
_SETTINGS = {"SHOAL_L2_TIMEOUT_SECONDS": "2"}
_FORGETFUL = {**_SETTINGS, "SHOAL_L1_MAX_BYTES": "1"}


@dataclass(frozen=True, slots=True)
class _LookUp:
    """A key that is asked for again and again, and the level that has it; empty if none has."""

    cache: CacheProcess
    key: str
    level: str

    def target(self, home: Home) -> Target:
        return Target(self.cache.address, Call(OPEN, open_request(self.key), metadata(home)))


async def beside_an_empty_rpc(rounds: int) -> Table:
    """The cache's look-ups and the empty RPC in turns."""
    generator = await ghz.find()
    async with Home.made() as home, echo(home, OPEN) as empty, _look_ups(home) as look_ups:
        of_cache = {name: look_up.target(home) for name, look_up in look_ups.items()}
        targets = {_ECHO: Target(empty, next(iter(of_cache.values())).call), **of_cache}
        await turns.once(generator, targets, WARM_UP)
        before = await _hits(look_ups.values())
        measured = await turns.in_turns(generator, targets, LOAD, rounds=rounds)
        found = await _hits(look_ups.values()) - before
    check_found(found, asked=LOAD.calls * rounds * sum(bool(look_up.level) for look_up in look_ups.values()))
    return turns.comparison(
        "`Open` of one cache, beside an empty RPC of the same kind of server",
        "look-up",
        measured,
        empty=_ECHO,
        note=f"{turns.conditions(LOAD, rounds)} Answers have {ANSWER_BYTES} bytes. Every call carries a signed "
        f"identity and a request id, which the empty RPC does not look at. Every answer was found where its row says.",
    )


def check_found(found: int, *, asked: int) -> None:
    """Raises MeasurementError if something else was measured than the rows say."""
    if found != asked:
        raise MeasurementError(
            f"of {asked} answers {found} were found in the level that their row names: a look-up took too long, or an "
            "answer was lost; measure again on a machine with nothing else to do"
        )


@asynccontextmanager
async def _look_ups(home: Home) -> AsyncIterator[Mapping[str, _LookUp]]:
    """They go to two caches that share their servers; one of them keeps nothing in its memory."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        state_url = await enter(Valkey(home, "valkey-state").running())
        cache_url = await enter(Valkey(home, "valkey-cache").running())
        servers = {"state_url": state_url, "cache_url": cache_url}
        usual = await enter(running_cache(home, "cache-1", **servers, settings=_SETTINGS))
        forgetful = await enter(running_cache(home, "cache-2", **servers, settings=_FORGETFUL))
        generation = await usual.caller.lead()
        for events in SHAPES.values():
            await usual.caller.publish(key(events), answer(events), generation)
        yield {
            **{f"found in L1, {shape}": _LookUp(usual, key(events), "l1") for shape, events in SHAPES.items()},
            **{f"found in L2, {shape}": _LookUp(forgetful, key(events), "l2") for shape, events in SHAPES.items()},
            "not found": _LookUp(usual, _UNKNOWN, ""),
        }


async def _hits(look_ups: Iterable[_LookUp]) -> int:
    """How often the levels that have the answers have given any."""
    asked = {(look_up.cache, look_up.level) for look_up in look_ups if look_up.level}
    return sum([(await cache.caller.level(level)).hits for cache, level in asked])
