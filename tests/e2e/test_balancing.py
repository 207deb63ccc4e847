"""How the front door of a real mesh spreads calls over three agents, by what Envoy says that each of them got."""

import json
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import model_process

CALLS = 1998
AT_ONCE = 4
TIERS = "anonymous=1/10,premium=100000/200000"
"""So that the demo key is refused nothing."""


def calls_so_far(mesh: Mesh) -> list[int]:
    """The calls of each agent since the start, health checks not among them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{mesh.admin_port}/clusters?format=json", timeout=10) as reply:
        clusters = {cluster["name"]: cluster for cluster in json.load(reply)["cluster_statuses"]}
    hosts = sorted(clusters["agent"]["host_statuses"], key=lambda host: host["address"]["socket_address"]["port_value"])
    return [next(int(stat.get("value", 0)) for stat in host["stats"] if stat["name"] == "rq_total") for host in hosts]


def shares(mesh: Mesh, sessions: Iterable[str]) -> list[float]:
    """Makes a call in each session, and gives the per cent of them that each agent got, in the agents' order."""
    key = ("x-api-key", mesh.api_key)
    before = calls_so_far(mesh)
    with grpc.insecure_channel(mesh.grpc_target) as channel, ThreadPoolExecutor(AT_ONCE) as callers:
        agents = agent_pb2_grpc.AgentServiceStub(channel)

        def call(session: str) -> pb.ListModelsResponse:
            return agents.ListModels(pb.ListModelsRequest(), metadata=(key, ("x-session-id", session)), timeout=30)

        made = list(callers.map(call, sessions))
    grown = [now - then for now, then in zip(calls_so_far(mesh), before, strict=True)]
    return [100 * calls / len(made) for calls in grown]


@pytest.mark.parametrize(
    ("setting", "expected", "tolerance"),
    [
        ("least_request", [100 / 3] * 3, 6),
        ("round_robin", [100 / 3] * 3, 1),
        ("weights:3:1:1", [60, 20, 20], 3),
        ("ring_hash:session", [100 / 3] * 3, 15),
        ("maglev:session", [100 / 3] * 3, 6),
    ],
)
def test_three_agents_get_the_calls_that_the_strategy_gives_them(
    setting: str, expected: list[float], tolerance: float
) -> None:
    with (
        model_process() as model,
        running_mesh(
            SHOAL_LOAD_BALANCING=setting,
            SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
            SHOAL_TIERS=TIERS,
            # A limiter that is late, as on a busy machine, shall cost no call.
            SHOAL_FAIL_OPEN_ROUTES="models",
        ) as mesh,
    ):
        sessions = [f"session-{number}" for number in range(CALLS)]
        assert shares(mesh, sessions) == pytest.approx(expected, abs=tolerance)
        if "session" in setting:
            assert sorted(shares(mesh, ["session-1"] * 100)) == [0, 0, 100]
