"""The port of leases: one caller of all gets to do what need be done once."""

from typing import Protocol


class Leases(Protocol):
    """Leases by name, over all cache processes. They are a hint that saves work: one may be given twice."""

    async def take(self, name: str, *, seconds: float) -> bool:
        """Whether the caller has the lease now, for so long. It never fails; without the shared store, every process
        counts for itself."""
