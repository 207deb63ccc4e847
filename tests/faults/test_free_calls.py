"""Strangers' calls that spend no tokens: whatever they do with them, turns go on."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.faults.bystanders import BystandersOf
from tests.faults.envoy_stats import envoy_stat
from tests.faults.raw_http2 import GRPC_HEADERS, RawHttp2, front_port, grpc_message
from tests.mesh import Mesh

STRANGER = "127.0.0.9"
CHECK = "/grpc.health.v1.Health/Check"
CALLS = 400
AT_ONCE = 40


def flood(mesh: Mesh, method: str, *headers: tuple[str, str]) -> None:
    """So many calls on one connection; returns when the last one was answered."""
    with RawHttp2(front_port(mesh), address=STRANGER) as stranger:
        for first in range(1, 2 * CALLS, 2 * AT_ONCE):
            streams = range(first, first + 2 * AT_ONCE, 2)
            for stream in streams:
                stranger.send(
                    stranger.request(stream, CHECK, *GRPC_HEADERS, *headers, method=method),
                    stranger.data(stream, grpc_message(b""), ends=True),
                )
            assert "closed" not in stranger.answer(streams[-1])


def test_nobody_holds_a_place_by_watching_health(mesh: Mesh) -> None:
    with grpc.insecure_channel(mesh.grpc_target) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        with pytest.raises(grpc.RpcError) as refused:
            next(iter(watching))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("trick", "method", "header"),
    [
        ("calls that a server resets", "PUT", ("x-nothing", "nothing")),
        ("calls that gRPC itself fails", "POST", ("grpc-encoding", "bogus")),
    ],
)
async def test_strangers_who_make_calls_fail_have_nobody_ejected_or_refused(
    mesh: Mesh, bystanders: BystandersOf, trick: str, method: str, header: tuple[str, str]
) -> None:
    counted = (
        "cluster.agent.outlier_detection.ejections_enforced_total",
        "cluster.agent.admission_control.rq_rejected",
    )
    before = [envoy_stat(mesh, name) for name in counted]
    async with bystanders(mesh) as others:
        await others.quiet()
        await asyncio.to_thread(flood, mesh, method, header)
        await others.during(f"a stranger makes {trick}")
    assert [envoy_stat(mesh, name) for name in counted] == before
