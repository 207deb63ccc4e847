"""Every process of a service is replaced, one at a time, while callers of every kind go on: nobody notices."""

import asyncio

import pytest

from tests.e2e.mixed_callers import DRAIN_SECONDS, TOKENS, Callers, mixed_callers
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import simulated_model

SERVICES = ("agent", "gateway", "cache", "ratelimit")
REQUESTS_EACH = 1250


async def restart(mesh: Mesh, service: str, callers: Callers) -> None:
    """Replaces its processes until enough requests have met that; at least once."""
    enough = callers.requests + REQUESTS_EACH
    while callers.requests < enough:
        before = pids_of(mesh, service)
        await mesh.shoal_meanwhile("restart", service)
        after = pids_of(mesh, service)
        assert len(after) == len(before)
        assert not before & after


def pids_of(mesh: Mesh, service: str) -> set[int]:
    return {pid for name, pid in mesh.pids().items() if name.startswith(f"{service}-")}


@pytest.mark.timeout(600)  # A busy machine takes its time for 5,000 requests.
async def test_every_process_is_replaced_under_load_and_no_request_fails() -> None:
    async with simulated_model("--output-tokens", str(TOKENS)) as model:
        # One cache and one limiter: who is the only one is replaced as well.
        with running_mesh(
            SHOAL_MODEL_BASE_URL=f"{model.url}/v1", SHOAL_GATEWAY_REPLICAS="2", SHOAL_DRAIN_SECONDS=DRAIN_SECONDS
        ) as mesh:
            key = await asyncio.to_thread(mesh.create_key, tenant="many", tier="bench")
            async with mixed_callers(mesh, key) as callers:
                for service in SERVICES:
                    unchecked = len(callers.unchecked)
                    await restart(mesh, service, callers)
    assert not callers.failures
    # The limiter was the last one.
    assert not callers.unchecked[unchecked:]
    assert callers.requests >= len(SERVICES) * REQUESTS_EACH
    assert {"rest", "sse", "grpc", "grpc stream", "long sse", "long grpc stream"} == set(callers.answered)
    assert {"hit", "bypass"} <= set(callers.caches)
