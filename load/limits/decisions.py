"""What limiters say of their decisions."""

import asyncio
from collections.abc import Iterable

from load.measuring import metrics

DEGRADED = "shoal_ratelimit_degraded"
_ALONE = "shoal_ratelimit_degraded_decisions_total"
BATCHES = "shoal_ratelimit_batch_size_count"
BATCHED = "shoal_ratelimit_batch_size_sum"


async def decided_alone(ports: Iterable[int]) -> int:
    """How many decisions the limiters with these metrics ports have made without Redis."""
    samples = await asyncio.gather(*(metrics.read(port, _ALONE) for port in ports))
    return round(sum(alone for [alone] in samples))
