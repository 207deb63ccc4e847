"""What a soak saw, as it is kept in soak.json."""

import msgspec


class ProcessSample(msgspec.Struct, frozen=True, array_like=True):
    """A process at one moment."""

    name: str
    service: str
    pid: int
    rss_bytes: int
    pss_bytes: int
    descriptors: int
    cpu_seconds: float
    """Since it was started."""


class Sample(msgspec.Struct, frozen=True):
    """The mesh at one moment."""

    seconds: float
    """Since the soak began."""
    outcomes: dict[str, int]
    """Of all calls so far."""
    processes: list[ProcessSample]


class Change(msgspec.Struct, frozen=True):
    """Something that was done to the mesh."""

    began: float
    ended: float
    what: str
    error: str = ""
    """Why it was not done; empty if it was."""


class Failure(msgspec.Struct, frozen=True):
    """A call that should not have failed."""

    seconds: float
    what: str
    error: str


class Soak(msgspec.Struct, frozen=True):
    """All of it."""

    command: str
    provenance: str
    minutes: float
    samples: list[Sample]
    changes: list[Change]
    calls: dict[str, dict[str, int]]
    """By kind, and by outcome."""
    failures: list[Failure]
    """The first of them."""
