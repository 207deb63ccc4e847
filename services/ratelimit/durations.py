"""Microseconds, in which the limiter counts, as its answers tell them."""

from google.protobuf.duration_pb2 import Duration

from services.ratelimit.buckets.bucket import MICROS_PER_SECOND

MICROS_PER_MILLI = 1000


def seconds_up(micros: int) -> int:
    """Whole seconds, rounded up, so that who waits them has waited long enough."""
    return -(-micros // MICROS_PER_SECOND)


def millis_up(micros: int) -> int:
    """Whole milliseconds, rounded up."""
    return -(-micros // MICROS_PER_MILLI)


def as_duration(micros: int) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(micros)
    return duration
