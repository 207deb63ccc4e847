"""The pools as Envoy is told of them: files that it watches, written anew with every change."""

from collections.abc import Mapping
from pathlib import Path

from envoyconf.endpoints import Endpoint, endpoints_file, render_endpoints
from envoyconf.runtime import render_runtime, runtime_file
from envoyconf.topology import Pool, Topology
from launcher.fleet.members import Members
from launcher.home import make_private, write_private
from launcher.processes.keeper import Keeper, State


class Pools:
    """Who is in which pool. One process only may write it."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        limiter = topology.ratelimit
        self._clusters: Mapping[str, tuple[Pool, ...]] = {limiter.name: (limiter, topology.ratelimit_rls)} | {
            pool.name: (pool,) for pool in (topology.cache, topology.agent, topology.gateway)
        }
        self.members: Mapping[str, Members] = {service: Members() for service in self._clusters}
        """Of each service. After a change of them, `publish`."""
        for service, members in self.members.items():
            for number in range(1, self.pool(service).replicas + 1):
                members.join(number)

    def pool(self, service: str) -> Pool:
        """The service's own pool; the limiter has another one, for Envoy."""
        return self._clusters[service][0]

    def clusters(self, service: str) -> tuple[Pool, ...]:
        """Every pool that a process of the service is in."""
        return self._clusters[service]

    def prepare(self) -> None:
        """Writes all files for the first time: Envoy does not start without them."""
        for service in self.members:
            for pool in self._clusters[service]:
                make_private(Path(endpoints_file(self._topology.files, pool.name)).parent)
            self.publish(service)

    def changed(self, keeper: Keeper) -> None:
        """A process started, got ready or is gone. Who is gone is no endpoint until it is back: Envoy need not find out
        by itself."""
        members = self.members.get(keeper.process.service)
        if members is None or keeper.process.number not in members:
            return
        member, serving = members[keeper.process.number], keeper.state is State.READY
        if member.serving is not serving:
            member.serving = serving
            self.publish(keeper.process.service)

    def publish(self, service: str) -> None:
        """Tells Envoy who is there now."""
        members = [member for member in self.members[service] if member.serving]
        for pool in self._clusters[service]:
            endpoints = [
                Endpoint(
                    port=pool.envoy_port_of(member.number),
                    weight=self._topology.weight_of(pool, member.rank),
                    draining=member.draining,
                )
                for member in members
            ]
            write_private(Path(endpoints_file(self._topology.files, pool.name)), render_endpoints(pool.name, endpoints))
        self._publish_sizes()

    def _publish_sizes(self) -> None:
        """Circuit breakers are as wide as the pools are large, not narrower while a replica is away for a moment."""
        sizes = {
            pool.name: len(list(self.members[service])) for service, pools in self._clusters.items() for pool in pools
        }
        file = Path(runtime_file(self._topology.files))
        make_private(file.parent)
        content = render_runtime(self._topology, sizes)
        if not file.exists() or file.read_text() != content:
            write_private(file, content)
