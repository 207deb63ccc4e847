"""Everything that Envoy reads, as text by file."""

from envoyconf.bootstrap import render
from envoyconf.endpoints import endpoints_file, first_endpoints, render_endpoints
from envoyconf.runtime import render_runtime, runtime_file
from envoyconf.topology import Topology


def watched_files(topology: Topology) -> dict[str, str]:
    """The files that Envoy watches as a mesh starts with them, but for the secrets."""
    pools = topology.pools()
    return {
        runtime_file(topology.files): render_runtime(topology, {pool.name: pool.replicas for pool in pools}),
        **{
            endpoints_file(topology.files, pool.name): render_endpoints(pool.name, first_endpoints(topology, pool))
            for pool in pools
        },
    }


def golden_files() -> dict[str, str]:
    """Those of the default topology and its bootstrap, by the path below the root of the repository."""
    topology = Topology.default()
    return {f"{topology.files}/envoy.yaml": render(topology), **watched_files(topology)}
