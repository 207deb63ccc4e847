"""What all calls of a soak have in common."""

TOKENS = 20
"""In each answer of the simulated model."""
CANCELLED_AFTER = 5
"""Deltas."""
PATIENCE_SECONDS = 60.0


class BrokenError(Exception):
    """An answer that is not whole, or a refusal."""


def check_whole(text: str) -> None:
    """Raises BrokenError for an answer with too few words."""
    if (words := len(text.split())) != TOKENS:
        raise BrokenError(f"{words} words instead of {TOKENS}")
