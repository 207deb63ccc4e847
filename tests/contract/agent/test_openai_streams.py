"""Streams as model servers send them: other line ends, long lines, torn packets, headers, connections."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec
import pytest
from aiohttp import web

from meshkit.errors import Reason, ShoalError
from services.agent.conversation import AnswerEvent, Completed, Delta, FinishReason, Message, Role, Usage
from services.agent.openai_model import OpenAIModel
from services.agent.ports import ChatRequest, ModelInfo

MIB = 1024 * 1024
HELLO = b'data: {"choices": [{"delta": {"content": "Hello"}}]}\n\n'
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
ANSWER = [Delta("Hello"), Usage(0, 0), Completed(FinishReason.STOP)]


@dataclass
class RawServer:
    """Answers every chat with the given packets, and keeps the headers and the connections that it saw."""

    packets: Sequence[bytes]
    status: int = 200
    reply_headers: dict[str, str] = field(default_factory=dict)
    requests: list[web.Request] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    models: bytes = b""
    never_ends: bool = False

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.connections.add(request.transport)
        response = web.StreamResponse(status=self.status, headers=self.reply_headers)
        await response.prepare(request)
        for packet in self.packets:
            await response.write(packet)
        if self.never_ends:
            await asyncio.Event().wait()
        for _ in range(100):  # The end comes in a packet of its own, when the last event has been read.
            await asyncio.sleep(0)
        return response

    async def list_models(self, _request: web.Request) -> web.Response:
        return web.Response(body=self.models)


@asynccontextmanager
async def model_over(server: RawServer, *, api_key: str = "") -> AsyncIterator[OpenAIModel]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_get("/v1/models", server.list_models)
    runner = web.AppRunner(app, handler_cancellation=True)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield OpenAIModel(session, base_url=base_url, api_key=api_key, silence_seconds=30)


async def chat(model: OpenAIModel) -> list[AnswerEvent]:
    request = ChatRequest(model="small", messages=(Message(Role.USER, "Hi."),))
    return [event async for event in model.chat(request)]


async def chat_in_one_piece(model: OpenAIModel) -> list[AnswerEvent]:
    request = ChatRequest(model="small", messages=(Message(Role.USER, "Hi."),), in_one_piece=True)
    return [event async for event in model.chat(request)]


async def answer_of(*packets: bytes) -> list[AnswerEvent]:
    async with model_over(RawServer(packets)) as model:
        return await chat(model)


def delta(text: str) -> bytes:
    return b"data: " + msgspec.json.encode({"choices": [{"delta": {"content": text}}]}) + b"\n\n"


@pytest.mark.parametrize(
    "packets",
    [
        [HELLO, STOP, DONE],
        [HELLO + STOP + DONE],
        [HELLO, STOP],
        [bytes([byte]) for byte in HELLO + STOP + DONE],
        [(HELLO + STOP + DONE).replace(b"\n", b"\r\n")],
        [(HELLO + STOP + DONE).replace(b"data: ", b"data:")],
        [b": keep-alive\n\n", b"event: message\nid: 1\n" + HELLO, b"retry: 10\n\n", STOP, DONE],
        [HELLO + STOP + DONE.strip()],
    ],
    ids=["usual", "one packet", "no done", "bytes", "crlf", "no space", "other lines", "no last newline"],
)
async def test_a_stream_may_come_in_every_form_that_the_standard_allows(packets: list[bytes]) -> None:
    assert await answer_of(*packets) == ANSWER


@pytest.mark.parametrize("after", [(), (b": keep-alive\n\n",), (STOP, b"noise\n")])
async def test_an_answer_is_whole_at_its_done_though_the_stream_never_ends(after: Sequence[bytes]) -> None:
    async with model_over(RawServer([HELLO, STOP, DONE, *after], never_ends=True)) as model:
        assert await chat(model) == ANSWER


async def test_a_line_may_be_long() -> None:
    """Some servers send the arguments of a tool, such as a whole file, in one event."""
    text = "x" * (2 * MIB)
    assert await answer_of(delta(text), STOP, DONE) == [Delta(text), *ANSWER[1:]]


async def test_a_line_without_end_is_a_broken_stream() -> None:
    with pytest.raises(ShoalError) as broken:
        await answer_of(b"data: ", *[b"x" * MIB] * 5)
    assert broken.value.reason is Reason.MODEL_UNAVAILABLE


@pytest.mark.parametrize(
    "noise", [b"data: \xff\xfe\n\n", b"data: {}{}\n\n", b'data: {"error": {"message": "full"}}\n\n']
)
async def test_an_event_that_is_none_breaks_the_stream(noise: bytes) -> None:
    with pytest.raises(ShoalError) as broken:
        await answer_of(HELLO, noise, STOP, DONE)
    assert broken.value.reason is Reason.MODEL_UNAVAILABLE


async def test_an_answer_that_is_no_stream_has_no_end() -> None:
    assert await answer_of(b'{"choices": [{"message": {"content": "Hello"}}]}') == []


WHOLE = b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}'


async def test_an_answer_in_one_piece_may_come_in_many_packets_and_its_connection_is_used_again() -> None:
    server = RawServer([WHOLE[:7], WHOLE[7:]], reply_headers={"Content-Type": "application/json"})
    async with model_over(server) as model:
        assert [await chat_in_one_piece(model) for _ in range(3)] == [ANSWER] * 3
        assert len(server.connections) == 1


async def test_a_server_that_only_knows_streams_may_stream() -> None:
    server = RawServer([HELLO, STOP, DONE], reply_headers={"Content-Type": "text/event-stream; charset=utf-8"})
    async with model_over(server) as model:
        assert await chat_in_one_piece(model) == ANSWER


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": {"message": "full"}}'])
async def test_what_is_no_answer_in_one_piece_is_a_broken_one(body: bytes) -> None:
    async with model_over(RawServer([body])) as model:
        with pytest.raises(ShoalError) as broken:
            await chat_in_one_piece(model)
    assert broken.value.reason is Reason.MODEL_UNAVAILABLE


async def test_the_key_of_the_provider_is_sent_if_there_is_one() -> None:
    for api_key, header in (("sk-provider", "Bearer sk-provider"), ("", None)):
        server = RawServer([HELLO, STOP, DONE])
        async with model_over(server, api_key=api_key) as model:
            await chat(model)
        assert server.requests[0].headers.get("Authorization") == header


async def test_connections_are_used_again() -> None:
    server = RawServer([HELLO, STOP, DONE])
    async with model_over(server) as model:
        for _ in range(5):
            assert await chat(model) == ANSWER
        assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("9" * 40, 24 * 3600.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("", None)],
)
async def test_when_to_come_back_is_told_in_whole_seconds_within_reason(header: str, seconds: float | None) -> None:
    server = RawServer([b""], status=429, reply_headers={"Retry-After": header})
    async with model_over(server) as model:
        with pytest.raises(ShoalError) as refused:
            await chat(model)
    assert refused.value.retry_after_seconds == seconds


async def test_a_huge_refusal_is_cut_short() -> None:
    async with model_over(RawServer([b"x" * MIB] * 3, status=400)) as model:
        with pytest.raises(ShoalError) as refused:
            await chat(model)
    assert refused.value.reason is Reason.MODEL_REFUSED
    assert len(refused.value.message) < 400


@pytest.mark.parametrize(
    ("listed", "created"),
    [("1700000000", 1_700_000_000), ("1700000000.9", 1_700_000_000), ("1700000000000", 0), ("-1", 0), ("1e300", 0)],
)
async def test_a_time_of_creation_that_is_none_is_unknown(listed: str, created: int) -> None:
    server = RawServer([], models=f'{{"data": [{{"id": "small", "created": {listed}}}]}}'.encode())
    async with model_over(server) as model:
        assert await model.models() == [ModelInfo("small", "", created)]
