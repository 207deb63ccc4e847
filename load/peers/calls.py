"""Unary RPCs, made again and again by ghz."""

from dataclasses import dataclass

from load.measuring import ghz
from load.measuring.ghz import Call
from load.measuring.speed import TimedLoad
from load.peers.results import Called


@dataclass(frozen=True, slots=True)
class Calls:
    """An RPC of one that answers it."""

    generator: str
    address: str
    call: Call

    async def made(self, contender: str, number: int, at_once: int, seconds: int) -> Called:
        """So many at once for so long, in the round of that number. Raises MeasurementError."""
        outcome = await ghz.measure_for(self.generator, self.address, self.call, TimedLoad(seconds, at_once))
        return Called(
            contender=contender,
            at_once=at_once,
            round=number,
            per_second=outcome.calls_per_second,
            p50_ms=outcome.p50_ms,
            p99_ms=outcome.p99_ms,
            answered=outcome.answered,
            errors=dict(outcome.errors),
        )
