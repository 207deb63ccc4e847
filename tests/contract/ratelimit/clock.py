"""A clock for stores."""

from dataclasses import dataclass

from services.ratelimit.buckets.bucket import MICROS_PER_SECOND

START = 1_800_000_000 * MICROS_PER_SECOND


@dataclass
class Clock:
    """Time in the hands of a test, in microseconds."""

    now: int = START

    def __call__(self) -> int:
        return self.now
