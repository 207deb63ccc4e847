"""The running mesh as an operator changes it: scaled and restarted while it serves."""

import asyncio
import time
from collections.abc import Callable, Sequence

from launcher.check import is_busy
from launcher.control.fleet import FleetError
from launcher.edge.succession import ENVOY, EnvoySuccession
from launcher.edge.view import EnvoyView
from launcher.fleet.members import Member
from launcher.fleet.pools import Pools
from launcher.planner import Planner
from launcher.processes.keeper import GaveUpError, Keeper
from launcher.processes.status import status_of
from launcher.processes.supervisor import Supervisor

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
NEWS_SECONDS = 5.0
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.05, 1.0
SILENT_SECONDS = 30.0
"""A process that has not said for so long what it does is stuck, and what it does will come to nothing."""


class MeshFleet:
    """Changes the mesh that a supervisor runs."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        planner: Planner,
        pools: Pools,
        envoy: EnvoyView,
        envoys: EnvoySuccession,
        drain_seconds: float,
    ) -> None:
        """`drain_seconds` is the longest that a stream may take, and so the longest that a replica is waited for."""
        self._supervisor = supervisor
        self._planner = planner
        self._pools = pools
        self._envoy = envoy
        self._envoys = envoys
        self._drain_seconds = drain_seconds
        self._joining = {service: asyncio.Lock() for service in pools.members}
        """Who is about to join or leave is settled by one change at a time; draining keeps nobody waiting."""

    async def scale(self, service: str, replicas: int, say: Say) -> None:
        """Makes them that many. New ones take calls when this returns; those that leave have finished theirs.

        Raises FleetError.
        """
        self._check_scale(service, replicas)
        async with self._joining[service]:
            here = self._pools.members[service].staying()
            if len(here) == replicas:
                say(f"{service}: there are {replicas} already")
            await self._join(service, [None] * (replicas - len(here)), say)
            leaving = self._marked(here[replicas:])
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
        async with self._joining[service]:
            here = self._pools.members[service].staying()
        for member in here:
            await self._replace(service, member, say)

    async def _join(self, service: str, ranks: Sequence[int | None], say: Say) -> None:
        """Starts one more for each rank, and returns when Envoy sends them calls. Raises FleetError; those that did
        start stay.

        One after the other: a process that starts takes a core for a second, which those that serve may need.
        """
        free = self._free_numbers(service)
        if len(free) < len(ranks):
            raise FleetError(
                f"There are free ports for {len(free)} more of {service} only, not for {len(ranks)}; "
                "those that still drain have theirs until they have ended."
            )
        for number, rank in zip(free, ranks, strict=False):
            await self._start(service, self._pools.members[service].join(number, rank=rank), say)

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
        places = self._places(service, member)
        if not await self._envoy.comes_to_see(places, lambda host: host.healthy, seconds=HEALTHY_SECONDS):
            await self._supervisor.retire(keeper, patience_seconds=STOP_SECONDS)
            self._forget(service, member)
            raise FleetError(f"{process.name} is ready, but Envoy does not find it healthy; it is stopped again.")
        say(f"{process.name}: takes calls after {time.monotonic() - began:.1f} s")

    async def _replace(self, service: str, member: Member, say: Say) -> None:
        """The successor takes calls before this one leaves. In a full row it leaves first, and the others must do."""
        members = self._pools.members[service]
        async with self._joining[service]:
            if member not in members.staying():
                # Another change has sent it away meanwhile.
                return
            if self._free_numbers(service):
                await self._join(service, [member.rank], say)
                leaving = self._marked([member])
            elif len(members.staying()) == 1:
                raise FleetError(f"There is no free port for another {service}, and it is the only one.")
            else:
                # Its place is kept for its successor: other changes of the service wait.
                await self._let_go(service, self._marked([member]), say)
                await self._join(service, [member.rank], say)
                leaving = []
        await self._let_go(service, leaving, say)

    async def _let_go(self, service: str, leaving: Sequence[Member], say: Say) -> None:
        """All at once, for each may have long streams to finish. No new calls for them, then none, then their end."""
        try:
            self._publish(service)
        except FleetError:
            for member in leaving:
                # Nobody was told that they leave, so they stay.
                member.draining = False
            raise
        drains = (self._drain(service, member, say) for member in leaving)
        for outcome in await asyncio.gather(*drains, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _drain(self, service: str, member: Member, say: Say) -> None:
        keeper = self._supervisor.keepers[f"{service}-{member.number}"]
        places = self._places(service, member)
        await self._envoy.comes_to_see(places, lambda host: host.draining, seconds=ENVOY_SECONDS)
        await self._until_idle(keeper, say)
        await self._supervisor.retire(keeper, patience_seconds=STOP_SECONDS)
        self._forget(service, member)
        say(f"{keeper.process.name}: stopped")

    async def _until_idle(self, keeper: Keeper, say: Say) -> None:
        """Until it has nothing to do, or is gone or stuck, or until a stream may not take any longer."""
        name, began = keeper.process.name, time.monotonic()
        told, heard, pause = began - NEWS_SECONDS, began, FIRST_LOOK_SECONDS
        while keeper.pid and (now := time.monotonic()) < min(began + self._drain_seconds, heard + SILENT_SECONDS):
            if status := await status_of(keeper.process.ports["metrics_port"]):
                heard = now
                if status.running + status.waiting == 0:
                    return
                if now >= told + NEWS_SECONDS:
                    told = now
                    say(f"{name}: draining, {status.running + status.waiting} still running")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK_SECONDS)

    def _marked(self, members: Sequence[Member]) -> Sequence[Member]:
        """Those that are about to leave, so that nobody counts on them any more."""
        for member in members:
            member.draining = True
        return members

    def _forget(self, service: str, member: Member) -> None:
        """Its process is gone, and its place is free."""
        self._pools.members[service].leave(member.number)
        self._publish(service)

    def _publish(self, service: str) -> None:
        """Raises FleetError if the files that Envoy reads cannot be written, as on a full disk."""
        try:
            self._pools.publish(service)
        except OSError as error:
            raise FleetError(
                f"The change could not be written to the files that Envoy reads: {error.strerror}. Try again when they "
                "can be written."
            ) from None

    def _places(self, service: str, member: Member) -> list[tuple[str, int]]:
        """Where Envoy has it."""
        return [(pool.name, pool.envoy_port_of(member.number)) for pool in self._pools.clusters(service)]

    def _check_ready(self) -> None:
        if not self._supervisor.was_ready.is_set():
            raise FleetError("The mesh is still starting; try again when it is ready.")

    def _check_scale(self, service: str, replicas: int) -> None:
        self._check_ready()
        if service == "ratelimit":
            raise FleetError(
                "ratelimit cannot be scaled while it runs: each limiter is told at its start how many there are; set "
                "SHOAL_RATELIMIT_REPLICAS instead."
            )
        if service not in SCALABLE:
            raise FleetError(f"There is no service {service}; {', '.join(SCALABLE)} can be scaled.")
        most = self._pools.pool(service).most
        if not 1 <= replicas <= most:
            raise FleetError(f"There can be 1 to {most} of {service}, not {replicas}.")

    def _free_numbers(self, service: str) -> list[int]:
        """The places in the row whose ports nobody uses, not even another program."""
        pool, members = self._pools.pool(service), self._pools.members[service]
        numbers = (number for number in range(1, pool.most + 1) if number not in members)
        return [
            number for number in numbers if not any(map(is_busy, self._planner.replica(service, number).ports.values()))
        ]
