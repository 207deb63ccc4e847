"""One real mesh for all faults that leave it as they found it, and the report of what they cost others."""

import functools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.bystanders import BystandersOf, bystanders_of
from tests.faults.fault_report import REPORT, report_lines, write_report
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import ModelProcess, Server, clients_of, model_process

TIERS = "anonymous=0.001/10000,free=1/10,basic=10/50,premium=100/200,bench=100000/200000,counted=0.001/10000"
"""As always, but anonymous and `counted` get no token back while a test runs, so that each one spent can be seen."""


@pytest.fixture(scope="session")
def model() -> Iterator[ModelProcess]:
    with model_process() as started:
        yield started


@pytest.fixture
async def simulated(model: ModelProcess) -> AsyncIterator[Server]:
    """The model that every mesh here asks, as a test looks at it."""
    async with clients_of(model) as server:
        yield server


@pytest.fixture(scope="session")
def mesh(model: ModelProcess) -> Iterator[Mesh]:
    """Two agents, one gateway, and little patience with slow clients."""
    with running_mesh(
        SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
        SHOAL_AGENT_REPLICAS="2",
        SHOAL_SLOW_CLIENT_SECONDS="2",
        SHOAL_TIERS=TIERS,
    ) as started:
        yield started


@pytest.fixture(scope="session")
def wide_mesh(model: ModelProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Several of each service, for faults after which the others go on. Calls take turns at the agents, so that a test
    knows where its own are. The tier basic is metered, models may be silent for a while, and one route fails open."""
    limits_file = tmp_path_factory.mktemp("limits") / "limits.yaml"
    limits_file.write_text("tiers: {basic: {model_tokens: {per_minute: 60, burst: 2000}}}")
    with running_mesh(
        SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
        SHOAL_AGENT_REPLICAS="3",
        SHOAL_GATEWAY_REPLICAS="2",
        SHOAL_LOAD_BALANCING="round_robin",
        SHOAL_LIMITS_FILE=str(limits_file),
        SHOAL_RESERVATION_TTL_SECONDS="5",
        SHOAL_MODEL_TIMEOUT_SECONDS="4",
        SHOAL_HEARTBEAT_SECONDS="0.5",
        SHOAL_FAIL_OPEN_ROUTES="models",
        SHOAL_FLOOD_PER_SECOND="300",
        SHOAL_FLOOD_BURST="600",
    ) as started:
        yield started


@pytest.fixture(scope="session")
def bystanders(pytestconfig: pytest.Config) -> BystandersOf:
    return functools.partial(bystanders_of, pytestconfig.stash[REPORT])


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash[REPORT]:
        terminalreporter.section("gaps between deltas of other callers")
        for line in report_lines(lines):
            terminalreporter.write_line(line)
    if file := os.environ.get("FAULTS_REPORT"):
        write_report(lines, Path(file))
