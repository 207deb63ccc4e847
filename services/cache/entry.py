"""An answer as it is kept: its events, when it was made, how long it is given out, and what can make it invalid."""

from dataclasses import dataclass

from services.cache.events import Events


@dataclass(frozen=True, slots=True)
class Worth:
    """What an answer took to compute, and so what each hit saves."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: "Worth") -> "Worth":
        return Worth(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_usd + other.cost_usd,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One stored answer. Times are Unix time in seconds."""

    events: Events
    created: float
    ttl_seconds: float
    """How long it is fresh."""
    stale_seconds: float = 0.0
    """How much longer it is given out while one caller computes it anew."""
    generation: int = 0
    """The generation in which its computation began: what was invalidated later is no answer any more."""
    tags: tuple[str, ...] = ()
    worth: Worth = Worth()

    @property
    def fresh_until(self) -> float:
        return self.created + self.ttl_seconds

    @property
    def expires(self) -> float:
        """From then on the entry is no answer any more."""
        return self.fresh_until + self.stale_seconds

    @property
    def size_bytes(self) -> int:
        """The bytes of its events, and of their lengths."""
        return self.events.size_bytes

    def is_live(self, now: float) -> bool:
        return now < self.expires

    def is_stale(self, now: float) -> bool:
        """Whether it is only given out because it is being computed anew."""
        return self.fresh_until <= now < self.expires

    def is_newer_than(self, other: "Entry") -> bool:
        """By generation first: its numbers are of one server, whereas each process has a clock of its own."""
        return (self.generation, self.created) > (other.generation, other.created)

    def may_replace(self, here: "Entry", *, promoted: bool) -> bool:
        """What has just been computed stays away only from a later generation: clocks differ and are set back. What is
        promoted, from any earlier answer."""
        return not here.is_newer_than(self) if promoted else here.generation <= self.generation

    def age_seconds(self, now: float) -> float:
        """Never negative, even if the clock of whoever made the entry is ahead."""
        return max(0.0, now - self.created)
