"""The port where our own Envoy asks: answers as over gRPC, many at once, and an end without a lost question."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from load.measuring.ports import free_port
from meshkit.channel import open_http1_channel
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Terms
from meshkit.mesh_tls import MeshTls
from services.ratelimit import envoy_request
from shoal.external import rls_pb2_grpc
from shoal.external.rls_pb2 import RateLimitRequest, RateLimitResponse
from shoal.ratelimit.v1 import ratelimit_pb2, ratelimit_pb2_grpc
from tests import certificates
from tests.integration.ratelimit.http1_questions import METHOD, Asker, question
from tests.integration.ratelimit.ratelimit_process import (
    TIMEOUT_SECONDS,
    RatelimitProcess,
    ask,
    descriptor,
    environ,
    identity_in,
    started,
)

HEALTH = b"GET /health HTTP/1.1\r\nhost: limiter\r\n\r\n"
MANY = 1000


def about(address: str) -> RateLimitRequest:
    asked = descriptor(masked_remote_address=address, surface="rest", request_id="r-1")
    return RateLimitRequest(domain="shoal", descriptors=[asked])


@dataclass(frozen=True)
class Offer:
    """A server of one method."""

    handler: Any
    most_bytes: int = envoy_request.MAX_BYTES

    def find(self, method: str) -> Any:
        return self.handler if method == METHOD else None


def offering(answer: Callable[[bytes, Any], Awaitable[bytes]]) -> Terms:
    handler: Any = grpc.unary_unary_rpc_method_handler(answer, None, bytes)
    return Terms([Offer(handler)], is_serving=lambda: True)


async def connected_again_and_again(port: int) -> None:
    """Until nobody listens there any more."""
    while True:
        await (await Asker.connected(port)).close()


@asynccontextmanager
async def asking(port: int) -> AsyncIterator[Asker]:
    asker = await Asker.connected(port)
    try:
        yield asker
    finally:
        await asker.close()


async def test_both_ports_answer_alike_from_one_bucket(limiter: RatelimitProcess, address: str) -> None:
    async with asking(limiter.http1_port) as asker:
        first = (await asker.ask(about(address))).answer()
        second = await ask(limiter, address)
        assert (first.overall_code, second.overall_code) == (RateLimitResponse.OK, RateLimitResponse.OK)
        assert [first.statuses[0].limit_remaining, second.statuses[0].limit_remaining] == [2, 1]
        assert identity_in(first).key_id == identity_in(second).key_id == address
        await asker.ask(about(address))
        refused = (await asker.ask(about(address))).answer()
        assert refused.overall_code == RateLimitResponse.OVER_LIMIT


async def test_what_is_wrong_with_a_question_is_told_in_trailers(limiter: RatelimitProcess) -> None:
    async with asking(limiter.http1_port) as asker:
        response = await asker.ask(RateLimitRequest(domain="shoal"))
        assert response.headers[b"grpc-status"] == b"3"
        assert response.headers[b"grpc-message"] == b"The field 'descriptors' must have 1 to 100 descriptors."
        broken = await asker.exchange(question(b"\xff\xff"))
        assert broken.headers[b"grpc-status"] == b"3"


async def test_the_services_own_channel_may_ask_too(limiter: RatelimitProcess, address: str) -> None:
    async with open_http1_channel(f"127.0.0.1:{limiter.http1_port}") as channel:
        stub: rls_pb2_grpc.RateLimitServiceAsyncStub = rls_pb2_grpc.RateLimitServiceStub(channel)
        answer = await stub.ShouldRateLimit(about(address), timeout=TIMEOUT_SECONDS)
        assert identity_in(answer).key_id == address
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.ShouldRateLimit(RateLimitRequest(domain="shoal"), timeout=TIMEOUT_SECONDS)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_meshs_own_methods_are_guarded_there(limiter: RatelimitProcess) -> None:
    async with open_http1_channel(f"127.0.0.1:{limiter.http1_port}") as channel:
        stub: ratelimit_pb2_grpc.RateLimitServiceAsyncStub = ratelimit_pb2_grpc.RateLimitServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.ListApiKeys(ratelimit_pb2.ListApiKeysRequest(), timeout=TIMEOUT_SECONDS)
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_question_that_is_too_large_is_refused_unread(limiter: RatelimitProcess) -> None:
    async with asking(limiter.http1_port) as asker:
        response = await asker.exchange(question(b"x" * (envoy_request.MAX_BYTES + 1)))
        assert response.headers[b"grpc-status"] == b"8"


async def test_the_health_of_each_is_told_there_too(limiter: RatelimitProcess) -> None:
    async with open_http1_channel(f"127.0.0.1:{limiter.http1_port}") as channel:
        check = health_pb2.HealthCheckRequest(service="shoal.ratelimit.v1.RateLimitService")
        told = await health_pb2_grpc.HealthStub(channel).Check(check, timeout=TIMEOUT_SECONDS)
    assert told.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_thousand_questions_at_once_are_answered(limiter: RatelimitProcess) -> None:
    async def asked(number: int) -> int:
        async with asking(limiter.http1_port) as asker:
            return (await asker.ask(about(f"10.9.{number // 250}.{number % 250}/32"))).answer().overall_code

    codes = await asyncio.gather(*(asked(number) for number in range(MANY)))
    assert codes == [RateLimitResponse.OK] * MANY


async def test_a_limiter_that_is_told_to_stop_says_so_first_and_then_leaves(
    valkey_url: str, tmp_path_factory: pytest.TempPathFactory, address: str
) -> None:
    settings = environ(tmp_path_factory.mktemp("leaving"), redis_url=valkey_url) | {"SHOAL_DRAIN_NOTICE_SECONDS": "1"}
    with started(settings) as leaving:
        health, asker = [await Asker.connected(leaving.http1_port) for _ in range(2)]
        assert (await health.exchange(HEALTH)).status == 200
        assert (await asker.ask(about(address))).answer().overall_code == RateLimitResponse.OK
        leaving.tell_to_stop()
        while (await health.exchange(HEALTH)).status == 200:
            """It is told by a signal, which takes a moment."""
        assert (await asker.ask(about(address))).answer().overall_code == RateLimitResponse.OK
        assert await asker.reader.read() == b""
        assert await health.reader.read() == b""
        for each in (health, asker):
            await each.close()


async def test_a_question_under_way_at_the_end_is_answered(free: int) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(message: bytes, context: Any) -> bytes:
        asked.set()
        await may_answer.wait()
        return message

    async with listening(offering(slow), port=free) as server, asking(free) as asker, asking(free) as idle:
        waiting = asyncio.create_task(asker.exchange(question(b"hello")))
        await asked.wait()
        ending = asyncio.create_task(server.stop(TIMEOUT_SECONDS))
        with pytest.raises(ConnectionError):
            await connected_again_and_again(free)
        assert await idle.reader.read() == b""
        may_answer.set()
        assert (await waiting).message() == b"hello"
        await asyncio.wait_for(ending, TIMEOUT_SECONDS / 2)


async def test_a_question_that_takes_longer_than_the_grace_is_broken_off_and_told_so(free: int) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(message: bytes, context: Any) -> bytes:
        asked.set()
        try:
            return await asyncio.Future()
        finally:
            cancelled.set()

    async with listening(offering(slow), port=free) as server, asking(free) as asker:
        waiting = asyncio.create_task(asker.exchange(question(b"hello")))
        await asked.wait()
        await server.stop(0)
        assert (await waiting).headers[b"grpc-status"] == b"14"
        assert await asker.reader.read() == b""
        await cancelled.wait()


@pytest.fixture
def free() -> int:
    return free_port()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> MeshTls:
    return certificates.mesh_tls(tmp_path_factory.mktemp("certs"))


async def test_with_tls_only_the_mesh_may_ask(free: int, tls: MeshTls) -> None:
    async def echo(message: bytes, context: Any) -> bytes:
        return message

    async with listening(offering(echo), port=free, tls=tls.server_context()):
        asker = await Asker.connected(free, tls.client_context())
        assert (await asker.exchange(question(b"hello"))).message() == b"hello"
        await asker.close()
        stranger = await Asker.connected(free)
        with pytest.raises((EOFError, OSError)):
            await stranger.exchange(question(b"hello"))
        stranger.writer.transport.abort()
