"""Whether a process is ready to be used: probes over plain sockets, so that the supervisor stays small."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from launcher.local_http import HOST, any_certificate, connection

_ANSWER_SECONDS = 2.0
_PAUSE_SECONDS = 0.05


class Probe(Protocol):
    """One question that a process answers when it is ready."""

    async def passes(self) -> bool:
        """Whether it was answered as it should be. Raises OSError or EOFError if there was no answer."""


@dataclass(frozen=True, slots=True)
class HttpOk:
    """GET of a path on 127.0.0.1 answers 200. With `tls`, any certificate will do: the port is our own."""

    port: int
    path: str
    tls: bool = False

    async def passes(self) -> bool:
        async with connection(self.port, any_certificate() if self.tls else None) as (reader, writer):
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            status_line = await reader.readuntil(b"\r\n")
        return status_line.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 "))


@dataclass(frozen=True, slots=True)
class RedisPong:
    """PING on 127.0.0.1 answers PONG."""

    port: int

    async def passes(self) -> bool:
        async with connection(self.port) as (reader, writer):
            writer.write(b"PING\r\n")
            return await reader.readuntil(b"\r\n") == b"+PONG\r\n"


async def until_ready(probes: Iterable[Probe]) -> None:
    """Returns when each probe has passed, in their order. Asks again and again, and never gives up."""
    for probe in probes:
        while True:
            if await _passes(probe):
                break
            await asyncio.sleep(_PAUSE_SECONDS)


async def _passes(probe: Probe) -> bool:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await probe.passes()
    except (OSError, EOFError, TimeoutError):
        return False
