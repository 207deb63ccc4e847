"""What is measured: a mesh of its own with a model that takes no time."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from launcher.processes.readiness import HttpOk
from load.hops.traced_model import TOKENS
from load.measuring import fleet
from load.measuring.home import Home
from load.measuring.keys import create_keys
from load.measuring.ports import free_port
from load.measuring.servers import mesh
from load.peers.environments import TOOLS, UnavailableError

SETTINGS: Mapping[str, str] = {"SHOAL_FLOOD_PER_SECOND": "1000000", "SHOAL_FLOOD_BURST": "1000000"}
"""All requests come from one address, which the flood guard would refuse at 1,000 requests per second."""
TIER = "bench"


@dataclass(frozen=True, slots=True)
class Running:
    """A mesh with its model."""

    home: Home
    address: str
    api_key: str
    model: int
    """Its process."""


@dataclass(frozen=True, slots=True)
class Model:
    """A program that serves one."""

    name: str
    command: Sequence[str]
    port: int


def traced_model(endpoint: str) -> Model:
    """The simulated one, which sends its spans there; none if that is empty."""
    port = free_port()
    command = [sys.executable, "-m", "load.hops.traced_model", str(port), *([endpoint] if endpoint else [])]
    return Model("the simulated one, in Python", command, port)


async def cheapest_model() -> Model:
    """The mock that peers are measured with, where there is Go; else the simulated one."""
    try:
        mock = await TOOLS.built() / "mock"
    except UnavailableError:
        return traced_model("")
    port = free_port()
    answers = ["-tokens", str(TOKENS), "-deltas", str(TOKENS)]
    return Model("load/peers/go/mock, in Go", [str(mock), "-port", str(port), *answers], port)


@asynccontextmanager
async def running(model: Model, *, endpoint: str = "") -> AsyncIterator[Running]:
    """The default mesh in a home of its own, once all is ready. It sends spans to the endpoint if there is one."""
    settings = {
        **SETTINGS,
        "SHOAL_MODEL_BASE_URL": f"http://127.0.0.1:{model.port}/v1",
        "SHOAL_OTLP_ENDPOINT": endpoint,
    }
    ready = HttpOk(model.port, "/v1/models")
    async with (
        Home.made() as home,
        home.running("model", model.command, {}, ready) as pid,
        mesh(home, settings) as started,
    ):
        await fleet.all_ready(home)
        [api_key] = await create_keys(home, started.inner_address, [TIER])
        yield Running(home, started.address, api_key, pid)
