"""HTTP to processes on this machine, over plain sockets: the launcher stays small without a client library."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import NamedTuple

HOST = "127.0.0.1"


class Answer(NamedTuple):
    """An answer of a server."""

    status: int
    body: bytes


async def get(port: int, path: str, *, method: str = "GET") -> Answer:
    """One request to 127.0.0.1.

    Raises OSError or EOFError if there is no proper answer. The caller sets the time limit.
    """
    async with connection(port) as (reader, writer):
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        try:
            return await _read_answer(reader)
        except (ValueError, asyncio.LimitOverrunError) as error:
            raise EOFError(f"no HTTP: {error}") from error


@contextlib.asynccontextmanager
async def connection(
    port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to 127.0.0.1, closed in the end. Raises OSError."""
    reader, writer = await asyncio.open_connection(HOST, port, ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    status = _status(await reader.readuntil(b"\r\n"))
    headers = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await (_read_chunks(reader) if b"transfer-encoding: chunked" in headers else reader.read())
    return Answer(status, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), base=16):
        body += await reader.readexactly(size)
        await reader.readuntil(b"\r\n")
    return body


def _status(status_line: bytes) -> int:
    """Raises EOFError if the line is none of HTTP's."""
    match status_line.split(maxsplit=2):
        case [version, code, *_] if version.startswith(b"HTTP/") and code.isdigit():
            return int(code)
    raise EOFError(f"no HTTP status line: {status_line!r}")


def any_certificate() -> ssl.SSLContext:
    """For a port of our own, whose certificate need not be good."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
