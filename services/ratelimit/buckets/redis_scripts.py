"""What the scripts in Redis have in common: the buckets' part of their text, and how their failures are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshkit.redis import FAILURES
from services.ratelimit.buckets.bucket import Limit
from services.ratelimit.buckets.bucket_store import BucketsUnreachableError

EPOCH_KEY = "epoch"
"""What is there for as long as nothing was lost."""

_BUCKET_SCRIPT = Path(__file__).with_name("bucket.lua").read_text()


def with_buckets(script: Path) -> str:
    """The text of a script that tells the time and touches buckets as all of them do."""
    return _BUCKET_SCRIPT + script.read_text()


def size_arguments(limit: Limit) -> tuple[int, int, int]:
    """The size of a bucket as the scripts are told it: what it holds when full, grains per token, gain."""
    return limit.full, limit.grains_per_token, limit.grains_per_micro


@contextmanager
def reported_as_unreachable() -> Iterator[None]:
    """Around a call and what is made of its answer: one that is none of our scripts' is a failure too."""
    try:
        yield
    except (*FAILURES, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise BucketsUnreachableError from error
