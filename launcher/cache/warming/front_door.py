"""The front door over HTTP, as a user with an API key."""

import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp
import msgspec

from launcher.cache.warming.answers import Reply

_ANSWER_SECONDS = 300.0
"""Longer than the mesh lets a model take."""
_CONNECT_SECONDS = 10.0


class NoAnswerError(Exception):
    """There was no answer. The message says why."""


class FrontDoor(Protocol):
    """Where tasks are sent."""

    async def post(self, body: Mapping[str, Any]) -> Reply:
        """Sends one task. Raises NoAnswerError."""


class HttpFrontDoor:
    """POST /api/v1/task. The session is closed by whoever opened it."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str) -> None:
        self._session = session
        self._url = url

    async def check(self) -> None:
        """Raises NoAnswerError if nothing answers at the address, or only with a redirection to another one."""
        reply = await self._send("GET", "/health", b"")
        if 300 <= reply.status < 400:
            raise NoAnswerError(f"{self._url} sends callers elsewhere; name the address with TLS by --url https://...")

    async def post(self, body: Mapping[str, Any]) -> Reply:
        return await self._send("POST", "/api/v1/task", msgspec.json.encode(body))

    async def _send(self, method: str, path: str, data: bytes) -> Reply:
        try:
            async with self._session.request(method, self._url + path, data=data, allow_redirects=False) as answer:
                return Reply(answer.status, await answer.read(), answer.headers.get("retry-after", ""))
        except TimeoutError:
            raise NoAnswerError(f"{self._url} did not answer within {_ANSWER_SECONDS:.0f} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswerError(f"{self._url} does not answer: {_why(error)}") from None


def _why(error: aiohttp.ClientError | OSError) -> str:
    """In the words of the system where it has some: aiohttp's are about its connector."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            refused = error.certificate_error
            words = refused.verify_message if isinstance(refused, ssl.SSLCertVerificationError) else str(refused)
            return f"its certificate is not trusted ({words}); name one to trust by SHOAL_TLS_CERT_FILE"
        case aiohttp.ClientConnectorSSLError():
            return f"no TLS can be spoken with it ({error.os_error.strerror})"
        case aiohttp.ClientConnectorError(os_error=OSError(errno=int(number))) if number > 0:
            return os.strerror(number)
        case aiohttp.ClientConnectorError():
            return error.os_error.strerror or str(error.os_error)
    return " ".join(str(error).split()) or type(error).__name__


@asynccontextmanager
async def open_front_door(url: str, *, api_key: str, cert_file: str) -> AsyncIterator[HttpFrontDoor]:
    """`cert_file` is a certificate to trust besides those that the system trusts; empty for none."""
    trust = ssl.create_default_context()
    if cert_file:
        trust.load_verify_locations(cert_file)
        # The server's own certificate will do; whoever signed it need not be known.
        trust.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=_CONNECT_SECONDS)
    headers = {"X-API-Key": api_key, "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0, ssl=trust)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        yield HttpFrontDoor(session, url=url.rstrip("/"))
