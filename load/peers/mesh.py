"""Shoal as `shoal up` starts it, with keys and limits on, in the configurations that are compared."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType

from envoyconf.topology import Topology
from launcher.processes import binaries
from launcher.processes.readiness import HttpOk
from load.measuring.home import Home
from load.measuring.keys import create_keys
from load.measuring.ports import free_shift
from load.measuring.servers import WholeMesh
from load.measuring.waiting import until
from load.peers.asking import PATH, Answers, Ask, Kind
from load.peers.contender import Grpc, Running, with_descendants

_DEFAULT = {
    "SHOAL_AGENT_REPLICAS": "3",
    # All load comes from one address.
    "SHOAL_FLOOD_PER_SECOND": "1000000",
    "SHOAL_FLOOD_BURST": "1000000",
}
CONFIGURATIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "Shoal": _DEFAULT,
        # On few cores more replicas add waiting, not work. It takes as many turns as the others do together.
        "Shoal, one agent": {**_DEFAULT, "SHOAL_AGENT_REPLICAS": "1", "SHOAL_AGENT_SLOTS": "384"},
    }
)
"""The settings of each, by name; all else is as `shoal up` has it."""
_FIRST_ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Shoal:
    """A mesh in one of the configurations."""

    settings: Mapping[str, str]

    @asynccontextmanager
    async def __call__(self, home: Home, model: str) -> AsyncIterator[Running]:
        shift = free_shift()
        ports = Topology.default(shift=shift).envoy
        where = {"SHOAL_HOME": str(home.folder), "SHOAL_PORT_SHIFT": str(shift), "SHOAL_MODEL_BASE_URL": model}
        command, ready = [str(binaries.shoal()), "up"], HttpOk(ports.front, "/health/ready")
        began = time.monotonic()
        async with with_descendants(home, "mesh", command, {**self.settings, **where}, ready) as pid:
            url = f"http://127.0.0.1:{ports.front}{PATH}"
            # Anybody may ask a little, and there is no key yet.
            first = Answers(Ask(url, {"Cache-Control": "no-store"}))
            await until("a mesh's first answer", first.passes, seconds=_FIRST_ANSWER_SECONDS)
            seconds = time.monotonic() - began
            await until("a whole mesh", WholeMesh(home).passes, seconds=_FIRST_ANSWER_SECONDS)
            [key] = await create_keys(home, f"127.0.0.1:{ports.inner}", ["bench"])
            known = {"Authorization": f"Bearer {key}"}
            asks: dict[Kind, Ask] = {
                "computed": Ask(url, {**known, "Cache-Control": "no-store"}),
                "cached": Ask(url, known),
            }
            yield Running(asks, pid, seconds, Grpc(f"127.0.0.1:{ports.front}", {"x-api-key": key}))
