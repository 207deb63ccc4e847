"""JSON bodies and queries: every fault is named by its field."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from meshkit.errors import Reason, ShoalError
from services.gateway.bodies import json_response, read_json, read_query
from services.gateway.openai_shapes import ChatCompletionBody
from services.gateway.shapes import PreferencesBody, TaskBody, TaskQuery

MAX_BYTES = 2_000


def receiving(*messages: Message) -> Callable[[], Awaitable[Message]]:
    pending = iter(messages)

    async def receive() -> Message:
        return next(pending)

    return receive


def request(*chunks: bytes, query: bytes = b"") -> Request:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": query, "headers": [(b"host", b"shoal")]}
    return Request(scope, receiving(*messages, {"type": "http.request", "body": b"", "more_body": False}))


async def fault(content: bytes, kind: type[Any] = TaskBody) -> ShoalError:
    with pytest.raises(ShoalError) as raised:
        await read_json(request(content), kind, max_bytes=MAX_BYTES)
    return raised.value


async def test_a_body_in_pieces_is_read_whole() -> None:
    body = await read_json(request(b'{"task": "H\xc3', b'\xa4llo"', b"}"), TaskBody, max_bytes=MAX_BYTES)
    assert body == TaskBody(task="Hällo")


@pytest.mark.parametrize(
    ("content", "reason", "field"),
    [
        (b"{}", Reason.FIELD_REQUIRED, "task"),
        (b'{"task": null}', Reason.FIELD_INVALID, "task"),
        (b'{"task": 1}', Reason.FIELD_INVALID, "task"),
        (b'{"task": ["a"]}', Reason.FIELD_INVALID, "task"),
        (b'{"task": "a", "context": []}', Reason.FIELD_INVALID, "context"),
        (b'{"task": "a", "stream": "yes"}', Reason.FIELD_INVALID, "stream"),
        (b'{"task": "a", "stream": 1}', Reason.FIELD_INVALID, "stream"),
        (b'{"task": "a", "session_id": 7}', Reason.FIELD_INVALID, "session_id"),
        (b'{"task": "a", "max_tokens": 0}', Reason.FIELD_INVALID, "max_tokens"),
        (b'{"task": "a", "max_tokens": 4294967296}', Reason.FIELD_INVALID, "max_tokens"),
        (b'{"task": "a", "max_tokens": 1.5}', Reason.FIELD_INVALID, "max_tokens"),
        (b'{"task": "a", "temperature": 2.1}', Reason.FIELD_INVALID, "temperature"),
        (b'{"task": "a", "temperature": "hot"}', Reason.FIELD_INVALID, "temperature"),
        (b'{"task": "a", "top_p": {}}', Reason.FIELD_INVALID, "top_p"),
        (b'{"task": "a", "seed": 9223372036854775808}', Reason.FIELD_INVALID, "seed"),
        (b'{"task": "a", "stop": "end"}', Reason.FIELD_INVALID, "stop"),
        (b'{"task": "a", "stop": ["a", 2]}', Reason.FIELD_INVALID, "stop[1]"),
        (b'{"task": "a", "tools": [{"name": "f"}, {}]}', Reason.FIELD_REQUIRED, "tools[1].name"),
        (b'{"task": "a", "tools": [{"name": "f", "x": 1}]}', Reason.FIELD_UNKNOWN, "tools[0].x"),
        (b'{"task": "a", "cache": {"mode": "sometimes"}}', Reason.FIELD_INVALID, "cache.mode"),
        (b'{"task": "a", "cache": {"ttl": 5}}', Reason.FIELD_UNKNOWN, "cache.ttl"),
        (b'{"task": "a", "cache": null}', Reason.FIELD_INVALID, "cache"),
        (b'{"task": "a", "cache": {"ttl_seconds": 0}}', Reason.FIELD_INVALID, "cache.ttl_seconds"),
        (b'{"task": "a", "cache": {"ttl_seconds": 604801}}', Reason.FIELD_INVALID, "cache.ttl_seconds"),
        (b'{"task": "a", "cache": {"ttl_seconds": 1.5}}', Reason.FIELD_INVALID, "cache.ttl_seconds"),
        (b'{"task": "a", "cache": {"tags": "a"}}', Reason.FIELD_INVALID, "cache.tags"),
        (b'{"task": "a", "cache": {"tags": ["a", ""]}}', Reason.FIELD_INVALID, "cache.tags[1]"),
        (b'{"task": "a", "cache": {"tags": ["a b"]}}', Reason.FIELD_INVALID, "cache.tags[0]"),
        (b'{"task": "a", "cache": {"tags": [' + b'"a",' * 16 + b'"a"]}}', Reason.FIELD_INVALID, "cache.tags"),
        (b'{"task": "a", "cache": {"public": "yes"}}', Reason.FIELD_INVALID, "cache.public"),
        (
            b'{"task": "a", "tools": [{"name": "f", "has_side_effects": 1}]}',
            Reason.FIELD_INVALID,
            "tools[0].has_side_effects",
        ),
        (b'{"task": "a", "taks": "b"}', Reason.FIELD_UNKNOWN, "taks"),
        (b'{"task": "a", "": "b"}', Reason.FIELD_UNKNOWN, ""),
        (b'{"task": "a", "b`c\\n": "d"}', Reason.FIELD_UNKNOWN, "b`c\n"),
        (b"[]", Reason.FIELD_INVALID, "body"),
        (b'"task"', Reason.FIELD_INVALID, "body"),
        (b"null", Reason.FIELD_INVALID, "body"),
        (b'{"task": "a", "temperature": 1e999}', Reason.FIELD_INVALID, "temperature"),
        (b"", Reason.MALFORMED_REQUEST, "body"),
        (b'{"task": "a"', Reason.MALFORMED_REQUEST, "body"),
        (b'{"task": "a"} {}', Reason.MALFORMED_REQUEST, "body"),
        (b"{'task': 'a'}", Reason.MALFORMED_REQUEST, "body"),
        (b'{"task": NaN}', Reason.MALFORMED_REQUEST, "body"),
        (b'{"task": "\xff"}', Reason.MALFORMED_REQUEST, "body"),
        (b'{"task": "\xed\xa0\x80"}', Reason.MALFORMED_REQUEST, "body"),
        (b'{"\xff": "a"}', Reason.MALFORMED_REQUEST, "body"),
        (rb'{"task": "\ud800 unpaired"}', Reason.MALFORMED_REQUEST, "body"),
        (rb'{"task": "\udc00 unpaired"}', Reason.MALFORMED_REQUEST, "body"),
        (rb'{"task": "a", "\ud800 name": 1}', Reason.MALFORMED_REQUEST, "body"),
        (b"\xef\xbb\xbf{}", Reason.MALFORMED_REQUEST, "body"),
        (b'{"task": "a", "context": {"a": ' + b"[" * 1900, Reason.MALFORMED_REQUEST, "body"),
    ],
)
async def test_every_fault_of_a_body_names_its_field(content: bytes, reason: Reason, field: str) -> None:
    error = await fault(content)
    assert (error.reason, error.field) == (reason, field)
    if field not in ("", "body"):
        assert f"'{field}'" in error.message


@pytest.mark.parametrize(
    ("content", "reason", "field"),
    [
        (b'{"messages": []}', Reason.FIELD_REQUIRED, "model"),
        (b'{"model": "m"}', Reason.FIELD_REQUIRED, "messages"),
        (
            b'{"model": "m", "messages": [{"role": "user"}, {"content": "a"}]}',
            Reason.FIELD_REQUIRED,
            "messages[1].role",
        ),
        (b'{"model": "m", "messages": [{"role": "king"}]}', Reason.FIELD_INVALID, "messages[0].role"),
        (b'{"model": "m", "messages": [{"role": "user", "content": 1}]}', Reason.FIELD_INVALID, "messages[0].content"),
        (b'{"model": "m", "messages": [], "functions": []}', Reason.FIELD_UNKNOWN, "functions"),
    ],
)
async def test_faults_of_a_chat_completion_name_their_field(content: bytes, reason: Reason, field: str) -> None:
    error = await fault(content, ChatCompletionBody)
    assert (error.reason, error.field) == (reason, field)


@pytest.mark.parametrize("version", ["-1", "9223372036854775808", "1.5", '"1"'])
async def test_a_version_that_could_never_be_is_refused(version: str) -> None:
    error = await fault(f'{{"preferences": {{}}, "expected_version": {version}}}'.encode(), PreferencesBody)
    assert (error.reason, error.field) == (Reason.FIELD_INVALID, "expected_version")


async def test_a_body_of_the_greatest_size_is_read_and_one_byte_more_is_refused() -> None:
    content = msgspec.json.encode({"task": "a" * (MAX_BYTES - len('{"task":""}'))})
    assert len(content) == MAX_BYTES
    await read_json(request(content), TaskBody, max_bytes=MAX_BYTES)
    error = await fault(content + b" ")
    assert (error.reason, error.field) == (Reason.REQUEST_TOO_LARGE, "body")


async def test_a_body_without_end_is_not_read_to_its_end() -> None:
    chunks = (b"x" * MAX_BYTES for _ in range(2))
    endless = Request(
        {"type": "http", "headers": []},
        receiving(*({"type": "http.request", "body": c, "more_body": True} for c in chunks)),
    )
    with pytest.raises(ShoalError) as raised:
        await read_json(endless, TaskBody, max_bytes=MAX_BYTES)
    assert raised.value.reason is Reason.REQUEST_TOO_LARGE


async def test_an_unknown_field_with_a_long_name_is_not_repeated_whole() -> None:
    error = await fault(msgspec.json.encode({"x" * 1_500: 1}))
    assert error.reason is Reason.FIELD_UNKNOWN
    assert len(error.field) == 100


async def test_a_client_that_leaves_while_it_sends_is_no_fault() -> None:
    leaving = Request({"type": "http", "headers": []}, receiving({"type": "http.disconnect"}))
    with pytest.raises(ClientDisconnect):
        await read_json(leaving, TaskBody, max_bytes=MAX_BYTES)


def test_a_query_says_what_a_body_says() -> None:
    query = (
        b"task=2+%2B+2%3F+%C3%A4&stream=true&max_tokens=5&temperature=0.5&session_id=s"
        b"&cache.mode=refresh&cache.ttl_seconds=60&cache.tags=a,b&cache.public=true"
    )
    assert read_query(request(query=query), TaskQuery) == TaskQuery(
        task="2 + 2? ä",
        stream=True,
        max_tokens=5,
        temperature=0.5,
        session_id="s",
        cache_mode="refresh",
        cache_ttl_seconds=60,
        cache_tags="a,b",
        cache_public=True,
    )


@pytest.mark.parametrize(
    ("query", "reason", "field"),
    [
        (b"", Reason.FIELD_REQUIRED, "task"),
        (b"stream=true", Reason.FIELD_REQUIRED, "task"),
        (b"task=a&stream=perhaps", Reason.FIELD_INVALID, "stream"),
        (b"task=a&max_tokens=many", Reason.FIELD_INVALID, "max_tokens"),
        (b"task=a&max_tokens=0", Reason.FIELD_INVALID, "max_tokens"),
        (b"task=a&context=%7B%7D", Reason.FIELD_UNKNOWN, "context"),
        (b"task=a&tools=f", Reason.FIELD_UNKNOWN, "tools"),
        (b"task=a&cache=bypass", Reason.FIELD_UNKNOWN, "cache"),
        (b"task=a&cache.mod=bypass", Reason.FIELD_UNKNOWN, "cache.mod"),
        (b"task=a&cache_mode=bypass", Reason.FIELD_UNKNOWN, "cache_mode"),
        (b"task=a&cache.mode=sometimes", Reason.FIELD_INVALID, "cache.mode"),
        (b"task=a&cache.ttl_seconds=0", Reason.FIELD_INVALID, "cache.ttl_seconds"),
        (b"task=a&cache.ttl_seconds=604801", Reason.FIELD_INVALID, "cache.ttl_seconds"),
        (b"task=a&cache.public=perhaps", Reason.FIELD_INVALID, "cache.public"),
        (b"task=a&cache.tags=a&cache.tags=b", Reason.FIELD_INVALID, "cache.tags"),
        (b"task=a&taks=b", Reason.FIELD_UNKNOWN, "taks"),
        (b"task=a&task=b", Reason.FIELD_INVALID, "task"),
        (b"task=%FF", Reason.MALFORMED_REQUEST, "query"),
        (b"%FF=a&task=a", Reason.MALFORMED_REQUEST, "query"),
        (b"task=%ED%A0%80", Reason.MALFORMED_REQUEST, "query"),
    ],
)
def test_every_fault_of_a_query_names_its_field(query: bytes, reason: Reason, field: str) -> None:
    with pytest.raises(ShoalError) as raised:
        read_query(request(query=query), TaskQuery)
    assert (raised.value.reason, raised.value.field) == (reason, field)


def test_an_empty_task_is_left_to_the_agent() -> None:
    assert read_query(request(query=b"task="), TaskQuery).task == ""


def test_an_answer_is_json() -> None:
    response = json_response({"ä": None}, status_code=201, headers={"x-extra": "1"})
    assert (response.status_code, response.body) == (201, '{"ä":null}'.encode())
    assert (response.headers["content-type"], response.headers["x-extra"]) == ("application/json", "1")


def test_an_answer_is_kept_by_no_cache_unless_it_says_so() -> None:
    assert json_response({}).headers.getlist("cache-control") == ["no-store"]
    assert json_response({}, headers={"cache-control": "private"}).headers.getlist("cache-control") == ["private"]
