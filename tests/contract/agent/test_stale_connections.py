"""A model's server that closes connections which it promised to keep, as llama.cpp does after every stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from meshkit.errors import Reason, ShoalError
from services.agent.conversation import Delta, Message, Role
from services.agent.openai_model import OpenAIModel
from services.agent.ports import ChatRequest

REQUEST = ChatRequest(model="m", messages=(Message(Role.USER, "Hello."),))
STREAM = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nKeep-Alive: timeout=5, max=100\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(STREAM), STREAM)
)


@asynccontextmanager
async def model_that_answers(answer: bytes) -> AsyncIterator[tuple[OpenAIModel, list[bytes]]]:
    """A model whose server reads one request, writes this and closes; with the requests that arrived."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        requests.append(await reader.readexactly(int(length.split(b":")[1])))
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, aiohttp.ClientSession() as session:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/v1"
        yield OpenAIModel(session, base_url=url, api_key="", silence_seconds=20), requests


async def test_no_call_is_lost_to_a_connection_that_was_closed_behind_our_back() -> None:
    async with model_that_answers(ANSWER) as (model, requests):
        for _ in range(50):
            assert Delta("Hi") in [event async for event in model.chat(REQUEST)]
    assert len(requests) == 50


async def test_a_server_that_never_answers_is_asked_a_few_times_only() -> None:
    async with model_that_answers(b"") as (model, requests):
        with pytest.raises(ShoalError) as refusal:
            await anext(model.chat(REQUEST))
    assert refusal.value.reason is Reason.MODEL_UNAVAILABLE
    assert len(requests) <= 4
