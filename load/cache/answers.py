"""The answers that are kept for measuring."""

from collections.abc import Sequence
from itertools import pairwise

ANSWER_BYTES = 2048
SHAPES = {"60 events": 60, "1 event": 1}
"""In how many events an answer comes: as the stream of a model, or in one piece."""

_WORDS = "The fastest request is one that nobody has to process. "


def answer(events: int) -> Sequence[bytes]:
    """An answer of ANSWER_BYTES, cut into so many events of about the same size."""
    text = (_WORDS * (ANSWER_BYTES // len(_WORDS) + 1))[:ANSWER_BYTES].encode()
    cuts = [ANSWER_BYTES * number // events for number in range(events + 1)]
    return [text[start:end] for start, end in pairwise(cuts)]


def key(number: int) -> str:
    """A key like any other: 64 hexadecimal digits."""
    return f"{number:064x}"
