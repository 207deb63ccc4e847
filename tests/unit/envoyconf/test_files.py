"""The files that Envoy watches: endpoints, sizes, secrets."""

import yaml

from envoyconf import secrets
from envoyconf.endpoints import Endpoint, endpoints_file, render_endpoints
from envoyconf.golden import watched_files
from envoyconf.runtime import render_runtime
from envoyconf.topology import Topology


def test_endpoints_have_their_weight_and_say_if_they_drain() -> None:
    text = render_endpoints("agent", [Endpoint(port=8121, weight=3), Endpoint(port=8122, draining=True)])
    (assignment,) = yaml.safe_load(text)["resources"]
    assert assignment["cluster_name"] == "agent"
    first, second = assignment["endpoints"][0]["lb_endpoints"]
    assert first["endpoint"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 8121}
    assert (first["load_balancing_weight"], "health_status" in first) == (3, False)
    assert (second["load_balancing_weight"], second["health_status"]) == (1, "DRAINING")


def test_the_name_of_the_pool_is_last_so_that_no_part_passes_for_the_whole() -> None:
    assert render_endpoints("agent", [Endpoint(port=8121)]).endswith("cluster_name: agent\n")


def test_circuit_breakers_are_as_wide_as_the_pools_are_large() -> None:
    topology = Topology.default(agent_turns=100)
    (runtime,) = yaml.safe_load(render_runtime(topology, {"agent": 5}))["resources"]
    assert runtime["layer"] == {
        "circuit_breakers.agent.default.max_requests": 660,
        "circuit_breakers.agent.default.max_connections": 4 * 660,
        "circuit_breakers.agent.default.max_pending_requests": 660,
    }


def test_every_pool_has_a_folder_of_its_own() -> None:
    topology = Topology.default()
    written = watched_files(topology)
    assert {endpoints_file(topology.files, pool.name) for pool in topology.pools()} < written.keys()
    folders = [path.rpartition("/")[0] for path in written]
    assert len(folders) == len(set(folders))


def test_a_secret_is_alone_in_its_file_under_its_name() -> None:
    shown = {
        "front": secrets.render_certificate("CERT", "KEY"),
        "mesh": secrets.render_mesh("CERT", "KEY"),
    }
    for name, text in shown.items():
        (secret,) = yaml.safe_load(text)["resources"]
        assert secret["name"] == name
        assert secret["tls_certificate"]["private_key"] == {"inline_string": "KEY"}
    (authority,) = yaml.safe_load(secrets.render_mesh_ca("CA"))["resources"]
    assert (authority["name"], authority["validation_context"]) == (
        "mesh-ca",
        {"trusted_ca": {"inline_string": "CA"}},
    )
