"""Calls over a channel: how they end, on both event loops, and what becomes of their connections."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import uvloop

from load.measuring.ports import free_port
from meshkit.http1.channel import Http1Channel
from meshkit.http1.pool import CONNECT_SECONDS
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Terms
from tests.integration.meshkit.http1.scripted_server import MOST_BYTES, REFUSED, answering, collected, streamed, unary

PATIENCE_SECONDS = 20.0
SHORT_SECONDS = 0.05

Loop = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def on_loop(request: pytest.FixtureRequest) -> Loop:
    """Runs a scenario to its end, within a time."""
    return lambda scenario: request.param(asyncio.wait_for(scenario, PATIENCE_SECONDS))


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def test_a_call_that_is_late_is_told_so_and_its_connection_ends(on_loop: Loop) -> None:
    async def scenario() -> None:
        async with answering(b"") as (channel, seen):
            while not seen.began.is_set():  # On a busy machine the first may be late before it is connected.
                error = await failure(unary(channel)(b"", timeout=SHORT_SECONDS))
                assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await seen.ended.wait()
            assert b"\r\ngrpc-timeout: " in seen.head

    on_loop(scenario())


def test_a_call_that_is_late_before_it_has_a_connection_is_told_so_then(on_loop: Loop) -> None:
    async def scenario() -> None:
        async with answering(b"", tls=ssl.create_default_context()) as (channel, _):
            async with asyncio.timeout(CONNECT_SECONDS - 1):
                error = await failure(unary(channel)(b"", timeout=SHORT_SECONDS))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    on_loop(scenario())


def test_messages_at_hand_are_sent_with_their_length_and_others_as_they_come(on_loop: Loop) -> None:
    async def one_by_one() -> AsyncIterator[bytes]:
        yield b"x"

    async def scenario() -> None:
        async with answering(REFUSED) as (channel, seen):
            await failure(collected(channel)([b"x", b"yz"]))
            assert b"\r\ncontent-length: 13\r\n" in seen.head
        async with answering(REFUSED) as (channel, seen):
            await failure(collected(channel)(one_by_one()))
            assert b"\r\ntransfer-encoding: chunked\r\n" in seen.head

    on_loop(scenario())


def test_where_nobody_listens_is_unavailable(on_loop: Loop) -> None:
    async def scenario() -> None:
        async with Http1Channel(f"127.0.0.1:{free_port()}", most_bytes=MOST_BYTES) as channel:
            error = await failure(unary(channel)(b"", timeout=PATIENCE_SECONDS))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert "cannot be reached" in (error.details() or "")

    on_loop(scenario())


@pytest.mark.parametrize("begin", [lambda channel: unary(channel)(b""), lambda channel: streamed(channel)(b"").read()])
def test_who_stops_waiting_ends_the_call(on_loop: Loop, begin: Callable[[Http1Channel], Any]) -> None:
    async def waits(channel: Http1Channel) -> None:
        await begin(channel)

    async def scenario() -> None:
        async with answering(b"") as (channel, seen):
            waiting = asyncio.create_task(waits(channel))
            await seen.began.wait()
            waiting.cancel()
            await seen.ended.wait()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    on_loop(scenario())


def test_a_call_under_way_ends_with_its_channel(on_loop: Loop) -> None:
    async def scenario() -> None:
        async with answering(b"") as (channel, seen):
            waiting = asyncio.create_task(failure(unary(channel)(b"")))
            await seen.began.wait()
        assert (await waiting).code() is grpc.StatusCode.UNAVAILABLE

    on_loop(scenario())


async def endless(cancelled: asyncio.Event) -> AsyncIterator[bytes]:
    """A request of which there is one message, and the next never comes."""
    yield b"one"
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        cancelled.set()
        raise


@pytest.mark.parametrize(
    ("says", "timeout", "code"),
    [
        (REFUSED, PATIENCE_SECONDS, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (b"", SHORT_SECONDS, grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_a_call_ends_although_its_requests_do_not(
    on_loop: Loop, says: bytes, timeout: float, code: grpc.StatusCode
) -> None:
    async def scenario() -> None:
        cancelled = asyncio.Event()
        async with answering(says) as (channel, seen):
            error = await failure(collected(channel)(endless(cancelled), timeout=timeout))
            assert error.code() is code
            assert cancelled.is_set()
            await seen.ended.wait()

    on_loop(scenario())


def test_very_many_requests_that_nobody_reads_do_not_keep_the_loop_busy(on_loop: Loop) -> None:
    async def flood() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100_000

    async def scenario() -> None:
        async with answering(REFUSED) as (channel, _):
            error = await failure(collected(channel)(flood(), timeout=PATIENCE_SECONDS))
            assert error.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}

    on_loop(scenario())


def test_what_the_requests_raise_is_raised_and_ends_the_call(on_loop: Loop) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"one"
        raise ZeroDivisionError

    async def scenario() -> None:
        async with answering(b"") as (channel, seen):
            with pytest.raises(ZeroDivisionError):
                await collected(channel)(breaks(), timeout=PATIENCE_SECONDS)
            await seen.ended.wait()

    on_loop(scenario())


def test_metadata_that_cannot_be_sent_begins_no_call(on_loop: Loop) -> None:
    async def scenario() -> None:
        async with answering(b"") as (channel, seen):
            with pytest.raises(ValueError, match="cannot be sent"):
                unary(channel)(b"", metadata=(("x", "1\r\ntransfer-encoding: chunked"),))
            assert seen.connections == 0

    on_loop(scenario())


class Echo:
    """A server with a method that answers with what it was asked."""

    most_bytes = MOST_BYTES

    def find(self, method: str) -> Any:
        return grpc.unary_unary_rpc_method_handler(self.echo, None, bytes)

    async def echo(self, message: bytes, context: Any) -> bytes:
        await asyncio.sleep(0)
        return message


@asynccontextmanager
async def echoing() -> AsyncIterator[Http1Channel]:
    """A channel to a server of ours that echoes."""
    port = free_port()
    async with (
        listening(Terms([Echo()], is_serving=lambda: True), port=port),
        Http1Channel(f"127.0.0.1:{port}", most_bytes=MOST_BYTES) as channel,
    ):
        yield channel


@pytest.mark.parametrize("timeout", [0.0, 0.0001, 0.0004])
def test_a_deadline_that_is_over_almost_at_once_is_told_on_a_used_connection_too(on_loop: Loop, timeout: float) -> None:
    async def ending(channel: Http1Channel) -> grpc.StatusCode:
        try:
            await unary(channel)(b"late", timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async def scenario() -> None:
        async with echoing() as channel:
            for _ in range(3):
                assert await unary(channel)(b"hello", timeout=PATIENCE_SECONDS) == b"hello"
                # A machine may be fast.
                assert await ending(channel) in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OK}

    on_loop(scenario())


def test_many_calls_at_once_get_each_their_own_answer(on_loop: Loop) -> None:
    async def asked(channel: Http1Channel, number: int) -> bytes:
        answer: bytes = await unary(channel)(bytes([number]) * 100_000, timeout=PATIENCE_SECONDS)
        return answer

    async def scenario() -> None:
        async with echoing() as channel:
            for _ in range(3):
                answers = await asyncio.gather(*(asked(channel, number) for number in range(20)))
                assert answers == [bytes([number]) * 100_000 for number in range(20)]

    on_loop(scenario())


def test_a_connection_is_used_again(on_loop: Loop) -> None:
    async def scenario() -> None:
        async with answering(REFUSED) as (channel, seen):
            await failure(unary(channel)(b""))
            await failure(unary(channel)(b"", timeout=SHORT_SECONDS))  # The server answers a connection once.
            assert seen.connections == 1

    on_loop(scenario())
