"""The processes of a pool: how they are killed, how Envoy sees them, and how they are reached past the front door."""

import os
import signal

from launcher.edge.admin import EnvoyAdmin
from meshkit.identity import IdentitySigner
from tests.faults.waiting import until
from tests.mesh import Mesh
from tests.mesh_identity import Metadata, signed


def signed_for(mesh: Mesh) -> Metadata:
    """The metadata of a call to a service of this mesh past the front door."""
    return signed(signer=IdentitySigner((mesh.home / "mesh-secret").read_bytes().strip()))


def kill(mesh: Mesh, process: str) -> int:
    """With SIGKILL. Returns the id that it had."""
    pid = mesh.pid(process)
    os.kill(pid, signal.SIGKILL)
    return pid


async def healthy(mesh: Mesh, cluster: str) -> int:
    """How many processes of a pool Envoy sends calls to."""
    hosts = await EnvoyAdmin(mesh.admin_port).hosts(cluster)
    return sum(host.healthy and not host.draining for host in hosts.values())


async def back_in_pool(mesh: Mesh, process: str, *, pid: int, replicas: int) -> None:
    """Until there is another process of that name than `pid`, and the whole pool takes calls."""

    async def is_back() -> bool:
        return mesh.pids().get(process, pid) != pid and await healthy(mesh, process.rpartition("-")[0]) == replicas

    await until(is_back, f"the return of {process}")
