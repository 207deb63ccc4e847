"""The ways in which a call can go wrong on purpose."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Refuse:
    """An HTTP error, 400 to 599."""

    status: int


@dataclass(frozen=True, slots=True)
class Hang:
    """The call is accepted and never answered, not even with headers."""


@dataclass(frozen=True, slots=True)
class Stall:
    """A stream stops after `after` tokens and stays open; a plain answer never comes."""

    after: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection closes after `after` tokens of a stream, or instead of a plain answer."""

    after: int


@dataclass(frozen=True, slots=True)
class Garble:
    """A plain answer is broken JSON; a stream holds a broken event after its first token and ends without `[DONE]`."""


Fault = Refuse | Hang | Stall | Cut | Garble


@dataclass(frozen=True, slots=True)
class FaultRates:
    """How often calls fail by themselves, as probabilities; at most one fault strikes a call.

    Raises ValueError if the rates add up to more than 1 or are no numbers.
    """

    refuse: float = 0.0
    hang: float = 0.0
    cut: float = 0.0
    status: int = 500
    """The HTTP status of refused calls."""

    def __post_init__(self) -> None:
        if not self.refuse + self.hang + self.cut <= 1:  # NaN fails too
            raise ValueError("the rates of errors, hangs and breaks must add up to at most 1")

    def draw(self, random: Random, tokens: int) -> Fault | None:
        """The fault of a call that would answer with `tokens` tokens, if any; a cut comes anywhere before the last."""
        point = random.random()
        if point < self.refuse:
            return Refuse(self.status)
        if point < self.refuse + self.hang:
            return Hang()
        if point < self.refuse + self.hang + self.cut:
            return Cut(after=random.randrange(max(tokens, 1)))
        return None
