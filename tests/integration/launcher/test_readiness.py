"""The probes of readiness, against servers that are ready, not ready, or something else."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from launcher.processes.readiness import HttpOk, Probe, RedisPong, until_ready
from load.measuring.ports import free_port
from tests.certificates import localhost

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
NOT_READY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def answering(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that gives one answer after the other, and the last one from then on; yields its port."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def is_ready(probe: Probe) -> bool:
    """Whether it passes within a second or so: enough for several questions."""
    try:
        async with asyncio.timeout(0.5):
            await until_ready([probe])
    except TimeoutError:
        return False
    return True


async def test_an_answer_of_200_is_ready() -> None:
    async with answering(OK) as port:
        assert await is_ready(HttpOk(port, "/ready"))


@pytest.mark.parametrize("answer", [NOT_READY, b"SSH-2.0-something 200\r\n", b"\r\n", b""])
async def test_any_other_answer_is_not_ready(answer: bytes) -> None:
    async with answering(answer) as port:
        assert not await is_ready(HttpOk(port, "/ready"))


async def test_nobody_there_is_not_ready() -> None:
    port = free_port()
    assert not await is_ready(HttpOk(port, "/ready"))
    assert not await is_ready(RedisPong(port))


async def test_it_asks_until_the_answer_is_good() -> None:
    async with answering(NOT_READY, NOT_READY, b"", OK) as port:
        await until_ready([HttpOk(port, "/ready")])


async def test_every_probe_must_pass() -> None:
    async with answering(OK) as good, answering(NOT_READY) as bad:
        async with asyncio.timeout(10):
            await until_ready([HttpOk(good, "/"), HttpOk(good, "/")])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await until_ready([HttpOk(good, "/"), HttpOk(bad, "/")])


async def test_tls_with_a_certificate_that_nobody_signed_is_good_enough(tmp_path: Path) -> None:
    certificate, key = localhost(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with answering(OK, tls=tls) as port:
        assert await is_ready(HttpOk(port, "/ready", tls=True))


async def test_valkey_answers_pong(valkey_url: str) -> None:
    assert await is_ready(RedisPong(urlsplit(valkey_url).port or 0))


async def test_a_redis_that_still_loads_is_not_ready() -> None:
    async with answering(b"-LOADING Redis is loading the dataset in memory\r\n") as port:
        assert not await is_ready(RedisPong(port))
