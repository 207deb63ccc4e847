"""Health and reflection: open to strangers, and silent about what we are made of."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from load.measuring.ports import free_port
from meshkit import serve
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Terms
from tests.integration.meshkit.guarded_server import Transport

HEALTH = "/grpc.health.v1.Health"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.fixture
async def channel(transport: Transport) -> AsyncIterator[grpc.aio.Channel]:
    server, ports = serve.new_server(), {each: free_port() for each in Transport}
    await serve.start(server, port=ports[Transport.GRPC], services=["shoal.test.v1.TestService"])
    async with (
        listening(Terms([server], is_serving=lambda: True), port=ports[Transport.HTTP1]),
        transport.open(f"127.0.0.1:{ports[transport]}") as channel,
    ):
        yield channel
    await server.stop(None)


def raw(channel: grpc.aio.Channel, method: str) -> Any:
    return channel.unary_unary(method, bytes, bytes)


async def test_health_answers_whoever_asks(channel: grpc.aio.Channel) -> None:
    request = health_pb2.HealthCheckRequest(service="shoal.test.v1.TestService")
    answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_handlers_own_refusal_stays_what_it_is(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="nosuch"), timeout=10)
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("method", "body", "code"),
    [
        (f"{HEALTH}/Check", b"\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (f"{HEALTH}/List", b"", grpc.StatusCode.UNIMPLEMENTED),
        (REFLECTION, b"\xff", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_fault_names_no_class_of_ours(
    channel: grpc.aio.Channel, method: str, body: bytes, code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await raw(channel, method)(body, timeout=10)
    assert refusal.value.code() is code
    assert "class" not in str(refusal.value.details())
