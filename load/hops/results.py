"""What was measured, as it is kept in hops.json."""

import msgspec


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one kind, one at a time. Times are milliseconds, medians of all requests."""

    case: str
    requests: int
    incomplete: int
    """Of how many further ones not all spans came."""
    hops: dict[str, float]
    """By the time that each took of a request; one that most requests did not come to is 0."""
    p50_ms: float
    """That the client saw."""
    p50_without_spans_ms: float
    """That it saw where nobody made any."""

    @property
    def sum_ms(self) -> float:
        """Of the medians: not quite the median of the sums."""
        return sum(self.hops.values())


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one kind, as many as the mesh answers."""

    case: str
    requests_per_second: float
    errors: dict[str, int]
    """Requests that were not answered well, by kind."""
    microseconds: dict[str, float]
    """Of CPU time for each request, by service: all its processes together."""

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one command."""

    command: str
    provenance: str
    requests: int
    seconds: int
    callers: int
    cores: int
    model: str
    """The one of the closed loop."""
    latency: list[Latency]
    cpu: list[Cpu]
    replicas: dict[str, int]
    """By service, how many processes there were in the closed loop."""
    idle: dict[str, float]
    """Microseconds of CPU time a second by service, when nobody asks."""
