"""The launcher's small HTTP client, over real sockets: what it reads, and what it calls no answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from launcher.local_http import Answer, get
from load.measuring.ports import free_port


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says this to everybody and hangs up. Yields its port and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], asked


async def test_a_body_is_read_to_the_end_of_the_connection() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nserver: it\r\n\r\none\r\n\r\ntwo") as (port, asked):
        assert await get(port, "/status") == Answer(200, b"one\r\n\r\ntwo")
    assert asked == [b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"]


async def test_a_body_in_chunks_is_put_together() -> None:
    chunks = b"HTTP/1.1 503 No\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\none\r\nA\r\n, two, and\r\n0\r\n\r\n"
    async with answering(chunks) as (port, _):
        assert await get(port, "/") == Answer(503, b"one, two, and")


async def test_other_methods_are_sent_as_they_are() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nserver: it\r\n\r\n") as (port, asked):
        await get(port, "/drain", method="POST")
    assert asked[0].startswith(b"POST /drain ")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nserver: it\r\n",
        b"-ERR unknown command\r\n\r\n\r\n",
        b"HTTP/1.1 many OK\r\nserver: it\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\none",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nmuch\r\none\r\n",
        b"x" * 200_000,
    ],
)
async def test_what_is_no_answer_is_an_end_of_file(answer: bytes) -> None:
    async with answering(answer) as (port, _):
        with pytest.raises(EOFError):
            await get(port, "/")


async def test_a_port_without_a_server_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="Connect"):
        await get(free_port(), "/")
