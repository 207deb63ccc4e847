"""How fast batches of spends follow each other."""

PACE_SECONDS = 0.001
"""How long each item of a batch holds back the next one."""
LONGEST_PAUSE_SECONDS = 0.005


def pause_after(size: int) -> float:
    """How many seconds after a batch of that size the next one may leave.

    A busy event loop brings one item a tick, so that without a pause each would travel alone; with it they gather as
    soon as more than one arrives in a millisecond.
    """
    return min(size * PACE_SECONDS, LONGEST_PAUSE_SECONDS)
