"""One real mesh for all end-to-end tests that leave it as they found it, and clients of it."""

from collections.abc import Iterator

import grpc
import httpx
import pytest

from tests.mesh import Mesh, running_mesh


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    with running_mesh() as started:
        yield started


@pytest.fixture
def rest(mesh: Mesh) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mesh.url, headers={"X-API-Key": mesh.api_key}, timeout=60) as client:
        yield client


@pytest.fixture
def channel(mesh: Mesh) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(mesh.grpc_target) as channel:
        yield channel
