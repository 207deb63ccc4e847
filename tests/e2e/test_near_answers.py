"""What a gateway repeats without asking the cache: for the same tenant only, and not once it was invalidated."""

from collections.abc import Iterator

import httpx
import pytest

from tests.backends import wait_until
from tests.mesh import Mesh

TASK = "/api/v1/task"
QUESTION = {"task": "hello again and again [[tokens=1]]"}


@pytest.fixture
def rest(simulated_mesh: Mesh) -> Iterator[httpx.Client]:
    """A tenant of its own."""
    with client_of(simulated_mesh, "near") as client:
        yield client


def client_of(mesh: Mesh, tenant: str) -> httpx.Client:
    return httpx.Client(
        base_url=mesh.url, headers={"X-API-Key": mesh.create_key(tenant=tenant, tier="premium")}, timeout=60
    )


def cache_of(rest: httpx.Client, mode: str = "default") -> str:
    return str(rest.post(TASK, json=QUESTION | {"cache": {"mode": mode}}).headers.get("x-shoal-cache", ""))


def test_what_is_repeated_is_the_tenants_own_and_is_gone_when_it_is_invalidated(
    simulated_mesh: Mesh, rest: httpx.Client
) -> None:
    assert [cache_of(rest) for _ in range(2)] == ["miss", "hit; level=l1"]
    wait_until(lambda: cache_of(rest) == "hit; level=near", "an answer of the gateway's own")
    with client_of(simulated_mesh, "nobody-near") as stranger:
        assert cache_of(stranger) == "miss"
        wait_until(lambda: cache_of(stranger) == "hit; level=near", "the same for the other tenant")
        simulated_mesh.shoal("cache", "invalidate", "--tenant", "near", "--all")
        # Asked all the time, so that what is repeated would be renewed for ever.
        wait_until(lambda: not cache_of(rest, "only"), "the end of what is invalidated")
        assert cache_of(stranger).startswith("hit")
