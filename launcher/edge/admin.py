"""Envoy's admin interface: who is in a pool, what is counted, how to drain."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from launcher.local_http import get

ANSWER_SECONDS = 2.0
"""It takes milliseconds, unless Envoy is stopped or has lost the one that it took over from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A process as Envoy sees it."""

    healthy: bool
    """Whether it gets calls, unless it drains."""
    draining: bool
    """Whether the file says so: no new calls for it."""
    active: int
    """Calls that it has now."""


class EnvoyAdmin:
    """The admin port of an Envoy on this machine. Every method raises OSError or EOFError if it does not answer, or not
    in time."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def hosts(self, cluster: str = "") -> Mapping[int, Host]:
        """The processes of a cluster, or of all, by their ports; none if there is no such cluster."""
        body = await self._ask(f"/clusters?format=json&filter=^{cluster or '.*'}$")
        pools = msgspec.json.decode(body, type=_Clusters).cluster_statuses
        return {host.port: host.seen() for pool in pools for host in pool.host_statuses}

    async def stat(self, name: str) -> int:
        """The value of a counter or gauge; 0 if there is none of that name."""
        line = await self._ask(f"/stats?filter=^{name}$")
        _, _, value = line.decode().strip().partition(": ")
        if not (value or "0").isdecimal():
            raise OSError(f"Envoy's admin interface says {value!r} in place of a number")
        return int(value or 0)

    async def server(self) -> "Server":
        """What the process that answers says of itself."""
        return msgspec.json.decode(await self._ask("/server_info"), type=Server)

    async def hot_restart_version(self) -> str:
        """Only an Envoy with the same one can take over from the one that runs."""
        return (await self._ask("/hot_restart_version")).decode().strip()

    async def drain(self) -> None:
        """Closes the front door: no more connections. Calls that have begun go on, and so does the inner listener.

        Not `graceful`: then Envoy would take new connections for its whole drain time.
        """
        await self._ask("/drain_listeners?inboundonly", method="POST")

    async def _ask(self, path: str, *, method: str = "GET") -> bytes:
        """The body of an answer. Raises OSError if it is none that Envoy gives when all is well."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await get(self._port, path, method=method)
        except TimeoutError:
            raise OSError(f"no answer within {ANSWER_SECONDS:g} s") from None
        if answer.status != HTTPStatus.OK:
            raise OSError(f"Envoy's admin interface answers {path} with {answer.status}")
        return answer.body


class _Options(msgspec.Struct):
    restart_epoch: int


class Server(msgspec.Struct):
    """An Envoy by its own account."""

    state: str
    """LIVE when it serves."""
    command_line_options: _Options

    @property
    def epoch(self) -> int:
        """How many have taken over from each other before it."""
        return self.command_line_options.restart_epoch


class _Address(msgspec.Struct):
    port_value: int


class _Socket(msgspec.Struct):
    socket_address: _Address


class _Health(msgspec.Struct):
    eds_health_status: str = "HEALTHY"
    failed_active_health_check: bool = False
    failed_outlier_check: bool = False
    pending_active_hc: bool = False
    pending_dynamic_removal: bool = False


class _Stat(msgspec.Struct):
    name: str
    value: str = "0"


class _Host(msgspec.Struct):
    address: _Socket
    health_status: _Health
    stats: list[_Stat] = []

    @property
    def port(self) -> int:
        return self.address.socket_address.port_value

    def seen(self) -> Host:
        health = self.health_status
        sick = health.failed_active_health_check or health.failed_outlier_check or health.pending_active_hc
        active = next((int(stat.value) for stat in self.stats if stat.name == "rq_active"), 0)
        draining = health.eds_health_status == "DRAINING" or health.pending_dynamic_removal
        return Host(healthy=not sick, draining=draining, active=active)


class _Cluster(msgspec.Struct):
    name: str
    host_statuses: list[_Host] = []


class _Clusters(msgspec.Struct):
    cluster_statuses: list[_Cluster] = []
