"""What was measured: the raw numbers, as they are kept."""

import msgspec

from load.front_door.protocols import Protocol
from load.front_door.scenario import Model, Scenario


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What callers of one kind got, in one run of a scenario."""

    round: int
    """From 1 on."""
    scenario: str
    """Its name."""
    model: Model
    replicas: int
    """Of the agent."""
    protocol: Protocol
    callers: str
    tier: str
    at_once: int
    seconds: float
    answered: int
    errors: dict[str, int]
    """By kind."""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    admits: int
    """What the limit of their key lets pass at most in that time."""

    @property
    def calls_per_second(self) -> float:
        """Of those that were answered well."""
        return self.answered / self.seconds

    @property
    def asked(self) -> int:
        """How many calls had an outcome."""
        return self.answered + sum(self.errors.values())


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run of the command."""

    command: str
    machine: str
    rounds: int
    seconds: int
    scenarios: dict[str, Scenario]
    rows: list[Row]
