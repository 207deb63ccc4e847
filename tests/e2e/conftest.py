"""Real meshes that end-to-end tests share, and clients of them."""

from collections.abc import Iterator

import grpc
import httpx
import pytest

from tests.e2e.span_collector import SpanCollector, span_collector
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import model_process


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    """As `shoal up` starts it, for all tests that leave it as they found it."""
    with running_mesh() as started:
        yield started


@pytest.fixture(scope="session")
def spans() -> Iterator[SpanCollector]:
    with span_collector() as collector:
        yield collector


@pytest.fixture(scope="session")
def simulated_mesh(spans: SpanCollector) -> Iterator[Mesh]:
    """One with a simulated model, which sends its spans to the collector soon, for tests that may change it: who is in
    it is not certain."""
    with (
        model_process() as model,
        running_mesh(
            SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
            SHOAL_OTLP_ENDPOINT=spans.address,
            OTEL_BSP_SCHEDULE_DELAY="100",
        ) as started,
    ):
        yield started


@pytest.fixture
def rest(mesh: Mesh) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mesh.url, headers={"X-API-Key": mesh.api_key}, timeout=60) as client:
        yield client


@pytest.fixture
def channel(mesh: Mesh) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(mesh.grpc_target) as channel:
        yield channel
