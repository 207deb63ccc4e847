"""One connection to a server: what comes in, in whatever packets, and what goes out."""

import asyncio
from collections.abc import Iterator

import pytest

from meshkit.http1.framing import MOST_WAITING
from meshkit.http1.server_connection import MOST_HEADER_BYTES, MOST_REFUSED_BYTES
from tests.unit.meshkit.http1.served import MOST, Served
from tests.unit.meshkit.http1.wire import byte_by_byte, chunk, framed, head, request, settled

HEALTH = b"GET /health HTTP/1.1\r\nhost: mesh\r\n\r\n"
END = b"0\r\n\r\n"
CLOSING = b"\r\nconnection: close\r\n"


@pytest.fixture
async def served() -> Served:
    return Served()


async def test_calls_are_answered_one_after_the_other_and_the_connection_stays(served: Served) -> None:
    for _ in range(3):
        await served.send(request(b"Echo", b"hello", headers=b"X-Request-Id: 1\r\n"))
    assert served.answers() == [b"HELLO"] * 3
    assert not served.transport.closed
    assert CLOSING not in served.transport.written
    assert ("x-request-id", "1") in served.metadata[0]


async def test_a_call_may_come_byte_by_byte(served: Served) -> None:
    await served.send(*byte_by_byte(request(b"Echo", b"hello")))
    await served.send(*byte_by_byte(request(b"Gather", b"one", b"two")))
    assert served.answers() == [b"HELLO", b"3"]


async def test_a_body_may_have_its_length_before_it(served: Served) -> None:
    body = framed(b"hello")
    whole = request(b"Echo").replace(b"transfer-encoding: chunked", b"content-length: %d" % len(body))
    await served.send(whole.removesuffix(END) + body)
    assert served.answers() == [b"HELLO"]


async def test_an_answer_in_many_messages_begins_before_its_end(served: Served) -> None:
    served.may_go_on.clear()
    await served.send(request(b"Repeat", b"a"))
    assert served.answers() == [b"a", b"a"]
    served.may_go_on.set()
    await settled()
    assert served.answers() == [b"a", b"a", b"last"]
    assert served.transport.written.partition(b"\r\n\r\n")[0].endswith(b"\r\nx-replica: one")
    assert served.transport.written.endswith(b"0\r\ngrpc-status: 0\r\nx-end: yes\r\n\r\n")


@pytest.mark.parametrize(("message", "status"), [(b"abort", 5), (b"break", 2), (b"inject", 2), (b"x" * (MOST + 1), 8)])
async def test_what_goes_wrong_is_told_in_trailers(served: Served, message: bytes, status: int) -> None:
    await served.send(request(b"Echo", message))
    assert served.answers() == [b"status %d" % status]
    assert b"set-cookie" not in served.transport.written


async def test_after_an_error_the_connection_goes_on(served: Served) -> None:
    await served.send(request(b"Echo", b"abort"))
    assert b"\r\nx-why: gone\r\n" in served.transport.written
    await served.send(request(b"Echo", b"again"))
    assert served.answers() == [b"status 5", b"AGAIN"]


@pytest.mark.parametrize("messages", [(), (b"one", b"two")])
async def test_a_method_of_one_message_takes_no_other_number(served: Served, messages: tuple[bytes, ...]) -> None:
    await served.send(request(b"Echo", *messages))
    assert (served.asked, served.answers()) == ([], [b"status 13"])


async def test_a_method_that_there_is_not_is_unimplemented(served: Served) -> None:
    await served.send(request(b"Dance", b"hello"))
    assert (served.asked, served.answers()) == ([], [b"status 12"])


@pytest.mark.parametrize("headers", [b"grpc-timeout: soon\r\n", b"x-shoal-timeout: 1S,2S\r\n", b"x-any-bin: *\r\n"])
async def test_headers_that_are_wrong_are_refused(served: Served, headers: bytes) -> None:
    await served.send(request(b"Echo", b"hello", headers=headers))
    assert (served.asked, served.answers()) == ([], [b"status 13"])


@pytest.mark.parametrize(("kind", "verb"), [(b"text/plain", b"POST"), (b"application/grpc", b"PUT")])
async def test_a_page_in_a_browser_cannot_call(served: Served, kind: bytes, verb: bytes) -> None:
    await served.send(request(b"Echo", b"hello", kind=kind, verb=verb))
    assert (served.asked, served.answers()) == ([], [b"415 Unsupported Media Type"])


async def test_health_is_whether_the_process_serves(served: Served) -> None:
    await served.send(HEALTH)
    served.serving = False
    await served.send(HEALTH)
    assert served.answers() == [b"200 OK", b"503 Service Unavailable"]
    assert not served.transport.closed


@pytest.mark.parametrize(
    "data",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        HEALTH.replace(b"host", b" host"),
        HEALTH.replace(b"host: mesh", b"connection: upgrade\r\nupgrade: h2c"),
        request(b"Echo", b"hello", headers=b"content-length: 3\r\n"),
        request(b"Echo").replace(b"transfer-encoding: chunked", b"content-length: 0\r\ncontent-length: 1"),
    ],
)
async def test_what_could_be_read_in_two_ways_ends_the_connection(served: Served, data: bytes) -> None:
    await served.send(data)
    assert (served.transport.closed, served.asked) == (True, [])


async def test_a_call_before_the_answer_to_the_one_before_ends_the_connection(served: Served) -> None:
    served.may_go_on.clear()
    await served.send(request(b"Echo", b"one") + request(b"Echo", b"two"))
    assert (served.transport.closed, served.transport.written) == (True, b"")
    await served.leave()
    assert (served.asked, served.cancelled) in (([b"one"], [b"one"]), ([], []))


async def test_a_call_behind_the_last_one_is_not_begun(served: Served) -> None:
    await served.send(HEALTH[:10])
    served.connection.end()
    await served.send(HEALTH[10:] + request(b"Echo", b"two"))
    assert (served.answers(), served.asked) == ([b"200 OK"], [])


def endless_path() -> Iterator[bytes]:
    yield b"POST /"
    while True:
        yield b"x" * 1000


def endless_headers() -> Iterator[bytes]:
    yield b"POST /x HTTP/1.1\r\n"
    while True:
        yield b"x-%b: y\r\n" % (b"x" * 1000)


def endless_header() -> Iterator[bytes]:
    yield b"POST /x HTTP/1.1\r\nx: "
    while True:
        yield b"x" * 1000


def endless_chunk_names() -> Iterator[bytes]:
    yield head(b"Echo") + b"1"
    while True:
        yield b";name=%b" % (b"x" * 1000)


def endless_trailers() -> Iterator[bytes]:
    yield head(b"Gather") + b"0\r\n"
    while True:
        yield b"x-%b: y\r\n" % (b"x" * 1000)


@pytest.mark.parametrize(
    "endless", [endless_path(), endless_headers(), endless_header(), endless_chunk_names(), endless_trailers()]
)
async def test_what_never_ends_is_cut_off(served: Served, endless: Iterator[bytes]) -> None:
    sent = 0
    while not served.transport.closed and sent < 2 * MOST_HEADER_BYTES:
        data = next(endless)
        sent += len(data)
        await served.send(data)
    assert served.transport.closed
    assert sent > MOST_HEADER_BYTES


async def test_a_body_may_be_longer_than_headers(served: Served) -> None:
    for _ in range(2):
        await served.send(head(b"Gather"))
        for _ in range(100):
            await served.send(chunk(framed(b"x" * MOST)))
        await served.send(END)
    assert served.answers() == [b"100", b"201"]


async def test_one_who_asks_to_close_is_answered_first(served: Served) -> None:
    await served.send(request(b"Echo", b"hello", headers=b"connection: close\r\n"))
    assert (served.answers(), served.transport.closed) == ([b"HELLO"], True)
    assert CLOSING in served.transport.written


# Deadlines, and callers who leave or do not read.


@pytest.mark.parametrize("deadline", [b"grpc-timeout: 1m\r\n", b"grpc-timeout: 1H\r\nX-Shoal-Timeout: 1m\r\n"])
@pytest.mark.parametrize("method", [b"Echo", b"Gather"])
async def test_a_call_ends_at_its_deadline_whatever_its_handler_does(
    served: Served, method: bytes, deadline: bytes
) -> None:
    served.may_go_on.clear()
    await served.send(request(method, b"hello", headers=deadline))
    await asyncio.wait_for(served.transport.is_told.wait(), 10)
    await settled()
    assert (served.answers(), len(served.cancelled)) == ([b"status 4"], 1)
    served.may_go_on.set()
    await served.send(request(b"Echo", b"again"))
    assert served.answers() == [b"status 4", b"AGAIN"]


async def test_a_deadline_may_pass_before_all_has_come_or_begun(served: Served) -> None:
    await served.send(head(b"Echo", headers=b"grpc-timeout: 0m\r\n"))
    await asyncio.wait_for(served.transport.is_told.wait(), 10)
    assert served.answers() == [b"status 4"]
    await served.send(chunk(framed(b"hello")) + END)
    assert (served.asked, served.transport.closed) == ([], True)


@pytest.mark.parametrize("method", [b"Echo", b"Repeat", b"Gather"])
async def test_who_leaves_is_told_nothing_more_and_the_handler_is_cancelled(served: Served, method: bytes) -> None:
    served.may_go_on.clear()
    await served.send(request(method, b"hello"))
    written = served.transport.written
    await served.leave()
    assert len(served.cancelled) == 1
    assert (served.transport.written, served.open) == (written, set())


async def test_who_reads_nothing_gets_nothing_more(served: Served) -> None:
    served.connection.pause_writing()
    await served.send(request(b"Repeat", b"a"))
    assert served.answers() == [b"a"]
    served.connection.resume_writing()
    await settled()
    assert served.answers() == [b"a", b"a", b"last"]


async def test_a_handler_that_writes_on_and_on_learns_that_the_connection_has_ended(served: Served) -> None:
    """The transport may know that earlier than it tells."""
    served.may_go_on.clear()
    await served.send(request(b"Flood", b"a"))
    served.transport.closed = True
    served.may_go_on.set()
    await settled()
    await served.leave()
    assert served.asked == [b"a"]


# Streams of callers.


async def test_a_stream_is_held_while_its_handler_is_busy(served: Served) -> None:
    served.may_go_on.clear()
    messages = chunk(framed(b"x")) * (MOST_WAITING + 1)
    await served.send(head(b"Gather") + messages)
    assert not served.transport.is_reading()
    served.may_go_on.set()
    await settled()
    assert served.transport.is_reading()
    await served.send(END)
    assert served.answers() == [b"%d" % (MOST_WAITING + 1)]


async def test_a_stream_that_came_at_once_is_not_held_so_that_its_caller_may_leave(served: Served) -> None:
    served.may_go_on.clear()
    await served.send(request(b"Gather", *[b"x"] * (MOST_WAITING + 1)))
    assert served.transport.is_reading()
    served.may_go_on.set()
    await settled()
    assert served.answers() == [b"%d" % (MOST_WAITING + 1)]


async def test_the_rest_of_a_stream_that_was_answered_is_read_and_not_heard(served: Served) -> None:
    await served.send(head(b"Gather") + chunk(framed(b"abort")) + chunk(framed(b"x")) * (MOST_WAITING + 1))
    assert served.answers() == [b"status 8"]
    assert CLOSING in served.transport.written
    assert served.transport.is_reading()
    assert not served.transport.is_closing()
    await served.send(chunk(framed(b"more")) + END)
    assert served.transport.is_closing()
    assert served.asked == [b"begin"]


@pytest.mark.parametrize(
    ("bad", "status"), [(chunk(framed(b"x" * (MOST + 1))), 8), (chunk(b"\1\0\0\0\0"), 12), (chunk(b"\0\0") + END, 13)]
)
async def test_a_stream_that_goes_wrong_ends_its_handler(served: Served, bad: bytes, status: int) -> None:
    served.may_go_on.clear()
    await served.send(head(b"Gather"))
    await served.send(bad)
    assert (served.answers(), served.cancelled) == ([b"status %d" % status], [b"begin"])


# What nobody wants to read.


@pytest.mark.parametrize("kind", [b"text/plain", b"application/grpc-web+proto", b"application/grpc+json"])
async def test_what_is_no_call_is_answered_before_its_body_is_there(served: Served, kind: bytes) -> None:
    await served.send(head(b"Echo", kind=kind))
    assert served.answers() == [b"415 Unsupported Media Type"]
    assert CLOSING in served.transport.written
    await served.send(chunk(b"hello") + END)
    assert (served.transport.closed, served.asked) == (True, [])


@pytest.mark.parametrize("method", [b"Echo", b"Unknown"])
async def test_so_much_is_read_of_what_was_refused_and_no_more(served: Served, method: bytes) -> None:
    await served.send(head(method) + chunk(framed(b"", flag=1)))
    assert CLOSING in served.transport.written
    part = chunk(b"x" * (1 << 20))
    for _ in range((MOST_REFUSED_BYTES >> 20) - 1):
        await served.send(part)
        assert not served.transport.closed
    await served.send(part + part)
    assert served.transport.closed


async def test_the_type_of_a_call_may_be_written_large_and_name_its_codec(served: Served) -> None:
    await served.send(request(b"Echo", b"hello", kind=b"Application/gRPC+proto"))
    assert served.answers() == [b"HELLO"]
