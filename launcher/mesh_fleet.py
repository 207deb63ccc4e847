"""The running mesh as an operator changes it: scaled, restarted, looked at."""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec

from launcher.check import is_busy
from launcher.control.fleet import FleetError, InEnvoy, ProcessRow
from launcher.envoy_admin import EnvoyAdmin, Host
from launcher.envoy_succession import ENVOY, EnvoySuccession
from launcher.keeper import GaveUpError, Keeper, within
from launcher.members import Member
from launcher.plan import Process, StopStage
from launcher.planner import Planner
from launcher.pools import Pools
from launcher.process_status import memory_of, status_of
from launcher.supervisor import Supervisor

Say = Callable[[str], None]

SCALABLE = ("agent", "gateway", "cache")
STOP_SECONDS = 10.0
"""For a process that has nothing left to do: its notice and its clean-up."""
START_SECONDS = 60.0
"""A process that is not ready by then, on a machine however busy, will not be."""
HEALTHY_SECONDS = 15.0
"""How long Envoy may take to find a process healthy that says that it is ready; it takes half a second."""
ENVOY_SECONDS = 5.0
"""How long Envoy may take to follow a change of its files; it takes milliseconds. Without Envoy there is no point in
waiting for longer."""
ANSWER_SECONDS = 2.0
"""For Envoy to answer one question; it may be stopped."""
LOOK_SECONDS = 0.05
NEWS_SECONDS = 5.0
UNREACHABLE_LOOKS = 20
"""A process that has not answered this often in a row has nothing to finish."""


class MeshFleet:
    """Changes and shows the mesh that a supervisor runs."""

    def __init__(
        self, *, supervisor: Supervisor, planner: Planner, pools: Pools, envoy: EnvoyAdmin, drain_seconds: float
    ) -> None:
        """`drain_seconds` is the longest that a stream may take, and so the longest that a replica is waited for."""
        self._supervisor = supervisor
        self._planner = planner
        self._pools = pools
        self._envoy = envoy
        self._drain_seconds = drain_seconds
        self._envoys = EnvoySuccession(supervisor=supervisor, lives=planner.envoys, admin=envoy)
        self._joining = {service: asyncio.Lock() for service in pools.members}
        """Who is about to join or leave is settled by one change at a time; draining keeps nobody waiting."""

    async def scale(self, service: str, replicas: int, say: Say) -> None:
        """Makes them that many. New ones take calls when this returns; those that leave have finished theirs.

        Raises FleetError.
        """
        self._check_scale(service, replicas)
        members = self._pools.members[service]
        async with self._joining[service]:
            here = members.staying()
            if len(here) == replicas:
                say(f"{service}: there are {replicas} already")
            await self._join(service, [None] * (replicas - len(here)), say)
            leaving = here[replicas:]
            for member in leaving:
                member.draining = True
        await self._let_go(service, leaving, say)

    async def restart(self, service: str, say: Say) -> None:
        """Replaces every process of a service, one after the other. Raises FleetError; what was replaced by then stays
        replaced."""
        self._check_ready()
        if service == ENVOY:
            await self._envoys.replace(say)
            return
        if service not in self._pools.members:
            raise FleetError(f"There is no service {service}; there are {', '.join(self._pools.members)} and {ENVOY}.")
        for member in self._pools.members[service].staying():
            await self._replace(service, member, say)

    async def processes(self) -> list[ProcessRow]:
        """Every process with its state, load and version."""
        hosts = await self._hosts()
        keepers = sorted(self._supervisor.keepers.values(), key=self._order)
        return list(await asyncio.gather(*(self._row(keeper, hosts) for keeper in keepers)))

    async def utilisation(self, service: str) -> float | None:
        """What its replicas work on and let wait, over their slots; None if nobody tells."""
        members = self._pools.members[service].staying()
        told = [await status_of(self._pools.pool(service).metrics_port_of(m.number)) for m in members if m.serving]
        slots = sum(status.slots or 0 for status in told if status)
        return sum(status.running + status.waiting for status in told if status) / slots if slots else None

    def replicas(self, service: str) -> int:
        """How many there are, those that leave not counted."""
        return len(self._pools.members[service].staying())

    async def _join(self, service: str, ranks: Sequence[int | None], say: Say) -> None:
        """Starts one more for each rank, all at once, and returns when Envoy sends them calls. Raises FleetError; those
        that do start stay."""
        free = self._free_numbers(service)
        if len(free) < len(ranks):
            raise FleetError(
                f"There are free ports for {len(free)} more of {service} only, not for {len(ranks)}; "
                "those that still drain have theirs until they have ended."
            )
        members = self._pools.members[service]
        joining = [members.join(number, rank=rank) for number, rank in zip(free, ranks, strict=False)]
        starts = (self._start(service, member, say) for member in joining)
        for outcome in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _start(self, service: str, member: Member, say: Say) -> None:
        """Returns when it takes calls. Raises FleetError if it never does; then it is gone again."""
        process = self._planner.replica(service, member.number)
        say(f"{process.name}: starting")
        began = time.monotonic()
        try:
            async with asyncio.timeout(START_SECONDS):
                keeper = await self._supervisor.add(process)
        except (GaveUpError, TimeoutError):
            self._forget(service, member)
            raise FleetError(f"{process.name} does not get ready, and is given up; see its log.") from None
        if not await self._envoy_sees(service, member, lambda host: host.healthy, seconds=HEALTHY_SECONDS):
            await self._supervisor.retire(keeper, patience_seconds=STOP_SECONDS)
            self._forget(service, member)
            raise FleetError(f"{process.name} is ready, but Envoy does not find it healthy; it is stopped again.")
        say(f"{process.name}: takes calls after {time.monotonic() - began:.1f} s")

    def _forget(self, service: str, member: Member) -> None:
        """Its process is gone, and its place is free."""
        self._pools.members[service].leave(member.number)
        self._pools.publish(service)

    async def _replace(self, service: str, member: Member, say: Say) -> None:
        """The successor takes calls before this one leaves. In a full row it leaves first, and the others must do."""
        async with self._joining[service]:
            if member.draining:
                # Another change has sent it away meanwhile.
                return
            has_room = bool(self._free_numbers(service))
            if has_room:
                await self._join(service, [member.rank], say)
            elif len(self._pools.members[service].staying()) == 1:
                raise FleetError(f"There is no free port for another {service}, and it is the only one.")
            member.draining = True
        await self._let_go(service, [member], say)
        if not has_room:
            async with self._joining[service]:
                await self._join(service, [member.rank], say)

    async def _let_go(self, service: str, members: Sequence[Member], say: Say) -> None:
        """All at once, for each may have long streams to finish. No new calls for them, then none, then their end."""
        self._pools.publish(service)
        async with asyncio.TaskGroup() as leaving:
            for member in members:
                leaving.create_task(self._drain(service, member, say))

    async def _drain(self, service: str, member: Member, say: Say) -> None:
        keeper = self._supervisor.keepers[f"{service}-{member.number}"]
        await self._envoy_sees(service, member, lambda host: host.draining, seconds=ENVOY_SECONDS)
        await self._until_idle(keeper, say)
        await self._supervisor.retire(keeper, patience_seconds=STOP_SECONDS)
        self._forget(service, member)
        say(f"{keeper.process.name}: stopped")

    async def _until_idle(self, keeper: Keeper, say: Say) -> None:
        """Until it has nothing to do, or until a stream may not take any longer."""
        name, began = keeper.process.name, time.monotonic()
        told, silent = began - NEWS_SECONDS, 0
        while time.monotonic() < began + self._drain_seconds and silent < UNREACHABLE_LOOKS:
            status = await status_of(keeper.process.ports["metrics_port"])
            if status and status.running + status.waiting == 0:
                return
            silent = 0 if status else silent + 1
            if status and time.monotonic() - told >= NEWS_SECONDS:
                told = time.monotonic()
                say(f"{name}: draining, {status.running + status.waiting} still running")
            await asyncio.sleep(LOOK_SECONDS)

    async def _envoy_sees(self, service: str, member: Member, is_so: Callable[[Host], bool], *, seconds: float) -> bool:
        """Waits until Envoy says so of the member in all its pools; False if it does not within that time."""

        async def looked() -> None:
            for pool in self._pools.clusters(service):
                while True:
                    host = (await self._hosts_of(pool.name)).get(pool.port_of(member.number))
                    if host and is_so(host):
                        break
                    await asyncio.sleep(LOOK_SECONDS)

        return await within(seconds, looked())

    async def _hosts(self) -> dict[int, Host]:
        """Every process behind Envoy by its port."""
        found: dict[int, Host] = {}
        for service in self._pools.members:
            found |= await self._hosts_of(service)
        return found

    async def _hosts_of(self, cluster: str) -> dict[int, Host]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return dict(await self._envoy.hosts(cluster))
        except (OSError, EOFError, msgspec.DecodeError):
            return {}

    async def _row(self, keeper: Keeper, hosts: dict[int, Host]) -> ProcessRow:
        process = keeper.process
        in_pool = process.service in self._pools.members
        status = await status_of(process.ports["metrics_port"]) if in_pool and keeper.pid else None
        return ProcessRow(
            name=process.name,
            service=process.service or process.name,
            pid=keeper.pid,
            port=next(iter(process.ports.values())),
            state="draining" if keeper.is_leaving or self._is_draining(process) else keeper.state.value,
            in_envoy=_in_envoy(hosts.get(process.ports["port"])) if in_pool else "",
            running=status.running if status else None,
            waiting=status.waiting if status else None,
            slots=status.slots if status else None,
            version=keeper.version,
            uptime_seconds=keeper.uptime_seconds,
            restarts=keeper.restarts,
            memory_bytes=memory_of(keeper.pid) if keeper.pid else None,
        )

    def _is_draining(self, process: Process) -> bool:
        members = self._pools.members.get(process.service, ())
        return any(member.draining for member in members if member.number == process.number)

    def _check_ready(self) -> None:
        if not self._supervisor.keepers[ENVOY].was_ready.is_set():
            raise FleetError("The mesh is still starting; try again when it is ready.")

    def _check_scale(self, service: str, replicas: int) -> None:
        self._check_ready()
        if service not in SCALABLE:
            reason = "each limiter is told at its start how many there are; set SHOAL_RATELIMIT_REPLICAS instead"
            raise FleetError(
                f"{service} cannot be scaled while it runs: {reason}."
                if service == "ratelimit"
                else f"There is no service {service}; {', '.join(SCALABLE)} can be scaled."
            )
        if not 1 <= replicas <= self._most(service):
            raise FleetError(f"There can be 1 to {self._most(service)} of {service}, not {replicas}.")

    def _most(self, service: str) -> int:
        return self._pools.pool(service).most

    def _free_numbers(self, service: str) -> list[int]:
        """The places in the row whose ports nobody uses, not even another program."""
        pool, members = self._pools.pool(service), self._pools.members[service]
        numbers = (number for number in range(1, pool.most + 1) if number not in members)
        return [
            number for number in numbers if not any(map(is_busy, self._planner.replica(service, number).ports.values()))
        ]

    def _order(self, keeper: Keeper) -> tuple[int, int, int]:
        """What others need comes before them."""
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
