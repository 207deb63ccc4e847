"""The front door of a warming run: what is said where none answers."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from launcher.cache.warming.front_door import NoAnswerError, open_front_door
from tests.certificates import localhost


async def refusal(url: str) -> str:
    """Why nothing can be sent there."""
    async with open_front_door(url, api_key="sk-shoal-of-the-test", cert_file="") as door:
        with pytest.raises(NoAnswerError) as refused:
            await door.check()
    return str(refused.value)


@asynccontextmanager
async def listener(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Host and port of a program that gives every caller the same answer."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(answered, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_certificate_that_is_not_trusted_is_said_to_be_that(tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*localhost(tmp_path))
    async with listener(b"", tls) as address:
        text = await refusal(f"https://{address}")
    assert text.startswith(
        f"https://{address} does not answer: its certificate is not trusted (unable to get local issuer certificate)"
    )
    assert "SHOAL_TLS_CERT_FILE" in text


async def test_tls_where_none_is_spoken_is_said_to_be_that() -> None:
    async with listener(b"rubbish\r\n\r\n") as address:
        assert "no TLS can be spoken with it" in await refusal(f"https://{address}")


async def test_a_program_that_speaks_no_http_is_told_of_in_a_line() -> None:
    async with listener(b"rubbish\r\n\r\n") as address:
        text = await refusal(f"http://{address}")
    assert text.startswith(f"http://{address} does not answer: 400")
    assert "\n" not in text


async def test_a_program_that_hangs_up_is_told_of() -> None:
    async with listener(b"") as address:
        assert await refusal(f"http://{address}") == f"http://{address} does not answer: Server disconnected"


async def test_a_name_that_nobody_has_is_said_to_be_that() -> None:
    text = await refusal("http://no-such-host.invalid:80")
    assert text.startswith("http://no-such-host.invalid:80 does not answer: ")
    assert "ssl:" not in text
