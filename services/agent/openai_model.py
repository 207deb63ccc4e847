"""Language models behind an OpenAI-compatible address, over pooled connections."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

import aiohttp
import msgspec

from meshkit import tracing
from meshkit.errors import Reason, ShoalError
from services.agent.conversation import AnswerEvent
from services.agent.openai_wire import (
    Chunk,
    Completion,
    EventData,
    ModelList,
    StreamReader,
    chat_body,
    error_message,
    events_of,
)
from services.agent.ports import ChatRequest, ModelInfo

_CONNECT_SECONDS = 10.0
_STALE_CONNECTIONS = 3
"""How many kept connections may turn out to be closed before a call is given up."""
_LIST_SECONDS = 5.0
_END_SECONDS = 0.25
"""How long the end of a stream may take after its last event; else its connection is given up."""
_STREAM = "text/event-stream"
_MAX_ERROR_BYTES = 64 * 1024
_LONGEST_RETRY_SECONDS = 24 * 3600.0
_LATEST_SECONDS = 253_402_300_799
"""The last second of the year 9999, where a protobuf Timestamp ends."""


class OpenAIModel:
    """Any server that speaks OpenAI's chat completions. The session is closed by whoever opened it."""

    def __init__(self, session: aiohttp.ClientSession, *, base_url: str, api_key: str, silence_seconds: float) -> None:
        """`silence_seconds` is how long the model may send nothing, before its answer or within it."""
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=_CONNECT_SECONDS, sock_connect=_CONNECT_SECONDS, sock_read=silence_seconds
        )
        self._silence_seconds = silence_seconds
        self._chunks = msgspec.json.Decoder(Chunk)
        self._completions = msgspec.json.Decoder(Completion)
        self._model_lists = msgspec.json.Decoder(ModelList)

    async def chat(self, request: ChatRequest) -> AsyncGenerator[AnswerEvent, None]:
        reader = StreamReader()
        try:
            async with await self._post(chat_body(request)) as response:
                await _raise_for_status(response)
                if request.in_one_piece and response.content_type != _STREAM:
                    for event in events_of(self._completions.decode(await response.read())):
                        yield event
                    return
                received = EventData()
                while not received.is_done:
                    for data in received.feed(await response.content.readany()):
                        for event in reader.read(self._chunks.decode(data)):
                            yield event
                await _read_to_the_end(response.content)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _unreachable() from error
        except TimeoutError as error:
            raise self._silent() from error
        except (aiohttp.ClientError, OSError, ValueError, msgspec.MsgspecError) as error:
            raise _broken() from error
        for event in reader.finish():
            yield event

    async def _post(self, body: bytes) -> aiohttp.ClientResponse:
        """The response, of which the body is still to come.

        Asks again if a kept connection turns out to be closed before anything came: servers close them when they like,
        llama.cpp after every stream.
        """
        headers = {"Content-Type": "application/json", **self._headers, **dict(tracing.current_headers())}
        url = f"{self._base_url}/chat/completions"
        for _ in range(_STALE_CONNECTIONS):
            try:
                return await self._session.post(url, data=body, headers=headers, timeout=self._timeout)
            except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
                raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                continue
        return await self._session.post(url, data=body, headers=headers, timeout=self._timeout)

    async def models(self) -> Sequence[ModelInfo]:
        timeout = aiohttp.ClientTimeout(total=_LIST_SECONDS)
        try:
            async with self._session.get(
                f"{self._base_url}/models", headers=self._headers, timeout=timeout
            ) as response:
                if response.status != 200:
                    raise _unreachable(f" (it answered {response.status} when asked for its models)")
                listed = self._model_lists.decode(await response.read())
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError) as error:
            raise _unreachable() from error
        return [ModelInfo(model.id, model.owned_by, _created(model.created)) for model in listed.data]

    def _silent(self) -> ShoalError:
        return ShoalError(Reason.MODEL_TIMEOUT, f"The model sent nothing for {self._silence_seconds:g} seconds.")


async def _read_to_the_end(stream: aiohttp.StreamReader) -> None:
    """Only a connection that was read to the end is used again. Some servers keep it open without an end."""
    if stream.at_eof():
        return
    with suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(_END_SECONDS):
            while await stream.readany():
                pass


async def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    """Turns a refusal into what the caller can do about it; what concerns us alone is said without details."""
    if response.status < 400:
        return
    body = await response.content.read(_MAX_ERROR_BYTES)
    if response.status in (400, 404, 413, 422):
        raise ShoalError(Reason.MODEL_REFUSED, f"The model refused the request: {error_message(body)}")
    if response.status == 429:
        raise ShoalError(
            Reason.MODEL_UNAVAILABLE,
            "The model's provider is at its limit; try again later.",
            retry_after_seconds=_retry_after(response.headers.get("Retry-After")),
        )
    raise _unreachable(f" (it answered {response.status})")


def _retry_after(header: str | None) -> float | None:
    """Whole seconds only: a date would need the provider's clock."""
    return min(float(header), _LONGEST_RETRY_SECONDS) if header and header.isdecimal() else None


def _created(seconds: float) -> int:
    """Unknown (0) if it is no Unix time in seconds; some servers list milliseconds."""
    return int(seconds) if 0 <= seconds <= _LATEST_SECONDS else 0


def _unreachable(detail: str = "") -> ShoalError:
    return ShoalError(Reason.MODEL_UNAVAILABLE, f"The model cannot be used now{detail}; try again later.")


def _broken() -> ShoalError:
    return ShoalError(Reason.MODEL_UNAVAILABLE, "The model broke off or sent something that is no answer; try again.")
