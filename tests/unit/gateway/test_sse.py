"""Server-sent events: their form, and the three ways in which a stream ends."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from starlette.types import Message

from meshkit.errors import Reason, ShoalError
from services.gateway import sse


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ({}, b'data: {"a":1}\n\n'),
        ({"id": "st:1"}, b'id: st:1\ndata: {"a":1}\n\n'),
        ({"name": "error"}, b'event: error\ndata: {"a":1}\n\n'),
        ({"id": "st:1", "name": "error"}, b'id: st:1\nevent: error\ndata: {"a":1}\n\n'),
    ],
)
def test_an_event_is_written_by_the_standard(fields: dict[str, str], written: bytes) -> None:
    assert sse.event(b'{"a":1}', **fields) == written


class Played:
    """A stream played to a client that stays, or that leaves after so many pieces."""

    def __init__(self, events: AsyncIterator[bytes], *, pieces: int | None = None) -> None:
        self.stops = 0
        self.sent: list[Message] = []
        self._pieces = pieces
        self._left = asyncio.Event()
        self._response = sse.EventStream(
            events, stop=self._stop, path="/api/v1/task", request_id="request-1", headers={"x-shoal-replica": "agent-1"}
        )

    async def play(self) -> "Played":
        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        await self._response(scope, self._receive, self._send)
        return self

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    def _stop(self) -> None:
        self.stops += 1

    async def _receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        if self._pieces is not None and len(self.sent) > self._pieces:
            self._left.set()


async def two_events() -> AsyncIterator[bytes]:
    yield sse.event(b"1")
    yield sse.event(b"2")


async def one_event_and(error: Exception) -> AsyncIterator[bytes]:
    yield sse.event(b"1")
    raise error


async def one_event_and_silence() -> AsyncIterator[bytes]:
    yield sse.event(b"1")
    await asyncio.Event().wait()


async def test_a_stream_that_is_complete_ends_with_done() -> None:
    played = await Played(two_events()).play()
    assert played.body == b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
    assert played.stops == 1


async def test_a_stream_is_announced_as_one_that_nobody_may_keep_or_hold_back() -> None:
    start = (await Played(two_events()).play()).sent[0]
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert start["status"] == 200
    assert headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
        "x-shoal-replica": "agent-1",
    }


async def test_a_stream_that_fails_ends_with_the_error_and_not_with_done() -> None:
    played = await Played(one_event_and(ShoalError(Reason.MODEL_UNAVAILABLE, "The model broke off."))).play()
    first, last = played.body.decode().strip().split("\n\n")
    assert first == "data: 1"
    name, data = last.split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: ")) == {
        "error": "The model broke off.",
        "code": "UNAVAILABLE",
        "reason": "MODEL_UNAVAILABLE",
        "field": "",
        "request_id": "request-1",
    }
    assert played.stops == 1


async def test_a_fault_of_ours_in_mid_stream_says_nothing_of_its_inside() -> None:
    played = await Played(one_event_and(KeyError("inner text"))).play()
    assert b'"reason":"INTERNAL"' in played.body
    assert b"inner text" not in played.body
    assert b"[DONE]" not in played.body


@pytest.mark.parametrize("pieces", [0, 1])
async def test_a_client_that_leaves_stops_the_turn(pieces: int) -> None:
    played = await Played(one_event_and_silence(), pieces=pieces).play()
    assert played.stops == 1
    assert b"[DONE]" not in played.body
