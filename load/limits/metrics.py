"""What a limiter says of itself on its metrics port."""

import asyncio
import urllib.request
from collections.abc import Iterable

DEGRADED = "shoal_ratelimit_degraded"
_ALONE = "shoal_ratelimit_degraded_decisions_total"
BATCHES = "shoal_ratelimit_batch_size_count"
BATCHED = "shoal_ratelimit_batch_size_sum"


async def read(port: int) -> dict[str, float]:
    """The samples by name with labels."""
    return await asyncio.to_thread(_read, port)


async def decided_alone(ports: Iterable[int]) -> int:
    """How many decisions the limiters with these metrics ports have made without Redis."""
    samples = await asyncio.gather(*(read(port) for port in ports))
    return round(sum(sample[_ALONE] for sample in samples))


def _read(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}
