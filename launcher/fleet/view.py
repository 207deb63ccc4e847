"""What the running mesh looks like: every process with its state, its load and its version."""

import asyncio
from collections.abc import Mapping

from launcher.control.fleet import InEnvoy, ProcessRow
from launcher.edge.admin import Host
from launcher.edge.view import EnvoyView
from launcher.fleet.pools import Pools
from launcher.processes.keeper import Keeper
from launcher.processes.plan import Process, StopStage
from launcher.processes.status import memory_of, status_of
from launcher.processes.supervisor import Supervisor


class FleetView:
    """Shows the mesh that a supervisor runs, and changes nothing."""

    def __init__(self, *, supervisor: Supervisor, pools: Pools, envoy: EnvoyView) -> None:
        self._supervisor = supervisor
        self._pools = pools
        self._envoy = envoy

    async def processes(self) -> list[ProcessRow]:
        """Every process; what others need comes before them."""
        hosts = await self._envoy.hosts()
        keepers = sorted(self._supervisor.keepers.values(), key=self._order)
        return list(await asyncio.gather(*(self._row(keeper, hosts) for keeper in keepers)))

    async def utilisation(self, service: str) -> float | None:
        """What its replicas work on and let wait, over their slots; None if nobody tells."""
        members = self._pools.members[service].staying()
        ports = [self._pools.pool(service).metrics_port_of(member.number) for member in members if member.serving]
        told = [status for status in await asyncio.gather(*map(status_of, ports)) if status]
        slots = sum(status.slots or 0 for status in told)
        return sum(status.running + status.waiting for status in told) / slots if slots else None

    def replicas(self, service: str) -> int:
        """How many there are, those that leave not counted, and one that is about to take over from another neither."""
        return len({member.rank for member in self._pools.members[service].staying()})

    async def _row(self, keeper: Keeper, hosts: Mapping[int, Host]) -> ProcessRow:
        process = keeper.process
        in_pool = process.service in self._pools.members
        status = await status_of(process.ports["metrics_port"]) if in_pool and keeper.pid else None
        # It may have been told by somebody else, with a signal.
        is_draining = keeper.is_leaving or self._is_leaving(process) or bool(status and status.draining)
        return ProcessRow(
            name=process.name,
            service=process.service or process.name,
            pid=keeper.pid,
            port=next(iter(process.ports.values())),
            state="draining" if is_draining else keeper.state.value,
            in_envoy=_in_envoy(hosts.get(process.ports.get("http1_port", process.ports["port"]))) if in_pool else "",
            running=status.running if status else None,
            waiting=status.waiting if status else None,
            slots=status.slots if status else None,
            version=keeper.version,
            uptime_seconds=keeper.uptime_seconds,
            restarts=keeper.restarts,
            memory_bytes=memory_of(keeper.pid) if keeper.pid else None,
        )

    def _is_leaving(self, process: Process) -> bool:
        members = self._pools.members.get(process.service, ())
        return any(member.draining for member in members if member.number == process.number)

    def _order(self, keeper: Keeper) -> tuple[int, int, int]:
        services, stages = list(self._pools.members), list(StopStage)
        service = keeper.process.service
        rank = services.index(service) if service in services else 0
        return -stages.index(keeper.process.stage), rank, keeper.process.number


def _in_envoy(host: Host | None) -> InEnvoy:
    if host is None:
        return "absent"
    if host.draining:
        return "draining"
    return "healthy" if host.healthy else "unhealthy"
