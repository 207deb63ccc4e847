"""One connection of the question port: what comes in byte by byte, and what goes out, without a socket."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from google.rpc import code_pb2

from services.ratelimit.questions.connection import (
    CALL_SECONDS,
    IDLE_SECONDS,
    MOST_HEADER_BYTES,
    Connection,
    Headers,
    Terms,
)
from services.ratelimit.questions.framing import CallError

PATH = b"/test.Service/Echo"
MOST = 1000


class Wire(asyncio.Transport):
    """The other end: what was written to it, and whether it is still there."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reads = True
        self.closed = False

    def write(self, data: object) -> None:
        assert not self.closed, "nobody is there to be told"
        assert isinstance(data, bytes)
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


@dataclass
class World:
    """A connection, its wire, and a method that answers when it is allowed to."""

    wire: Wire = field(default_factory=Wire)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[bytes] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    open: set[Connection] = field(default_factory=set)
    serving: bool = True
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.may_answer.set()
        terms = Terms({PATH: self.echo}, MOST, is_serving=lambda: self.serving)
        self.connection = Connection(terms, joins=self.open.add, leaves=self.open.discard)
        self.connection.connection_made(self.wire)

    async def echo(self, message: bytes, headers: Headers) -> bytes:
        self.asked.append(message)
        self.headers.append(headers)
        await self.may_answer.wait()
        if message == b"refuse":
            raise CallError(code_pb2.UNAVAILABLE, "Not now.")
        if message == b"break":
            raise ZeroDivisionError
        return message.upper()

    async def send(self, data: bytes) -> None:
        """Bytes arrive, and whatever can be done about them is done."""
        self.connection.data_received(data)
        await self.settled()

    async def settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    def answers(self) -> list[bytes]:
        """The messages and statuses that were written, in their order."""
        parts = self.wire.written.split(b"HTTP/1.1 ")[1:]
        return [_told(part) for part in parts]


def _told(response: bytes) -> bytes:
    head, _, body = response.partition(b"\r\n\r\n")
    if b"chunked" not in head:
        return head.partition(b"\r\n")[0]
    status = body.partition(b"grpc-status: ")[2].partition(b"\r\n")[0]
    return body.partition(b"\r\n")[2].partition(b"\r\n0\r\n")[0][5:] if status == b"0" else b"status " + status


def request(
    message: bytes,
    *,
    path: bytes = PATH,
    verb: bytes = b"POST",
    headers: bytes = b"",
    kind: bytes = b"application/grpc",
) -> bytes:
    """A request as Envoy writes one."""
    body = b"\0" + len(message).to_bytes(4) + message
    head = b"%b %b HTTP/1.1\r\nhost: limiter\r\ncontent-type: %b\r\n%b" % (verb, path, kind, headers)
    return head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


HEALTH = b"GET /health HTTP/1.1\r\nhost: limiter\r\n\r\n"


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_question_is_answered_and_the_connection_stays(world: World) -> None:
    for _ in range(3):
        await world.send(request(b"hello", headers=b"Traceparent: 00-1\r\n"))
    assert world.answers() == [b"HELLO"] * 3
    assert not world.wire.closed
    assert world.headers[0][b"traceparent"] == b"00-1"


async def test_a_question_may_come_byte_by_byte(world: World) -> None:
    whole = request(b"hello")
    for place in range(len(whole)):
        world.connection.data_received(whole[place : place + 1])
    await world.settled()
    assert (world.asked, world.answers()) == ([b"hello"], [b"HELLO"])


async def test_questions_that_come_together_are_answered_one_by_one_in_their_order(world: World) -> None:
    world.may_answer.clear()
    await world.send(request(b"one") + request(b"two") + HEALTH + request(b"three")[:30])
    assert (world.asked, world.answers(), world.wire.reads) == ([b"one"], [], False)
    world.may_answer.set()
    await world.settled()
    assert world.wire.reads
    await world.send(request(b"three")[30:])
    assert world.answers() == [b"ONE", b"TWO", b"200 OK", b"THREE"]


async def test_one_who_does_not_read_his_answers_gets_no_more_of_them(world: World) -> None:
    world.connection.pause_writing()
    await world.send(request(b"one"))
    assert world.asked == []
    world.connection.resume_writing()
    await world.settled()
    assert world.answers() == [b"ONE"]


async def test_one_who_leaves_is_told_nothing_and_his_question_ends(world: World) -> None:
    world.may_answer.clear()
    await world.send(request(b"one") + request(b"two"))
    world.wire.close()
    world.connection.connection_lost(None)
    world.may_answer.set()
    await world.settled()
    assert (world.asked, world.wire.written, world.open) == ([b"one"], b"", set())


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"refuse", code_pb2.UNAVAILABLE),
        (b"break", code_pb2.INTERNAL),
        (b"x" * (MOST + 1), code_pb2.RESOURCE_EXHAUSTED),
    ],
)
async def test_what_goes_wrong_is_told_in_trailers(world: World, message: bytes, status: int) -> None:
    await world.send(request(message))
    assert world.answers() == [b"status %d" % status]


async def test_after_a_refusal_the_connection_goes_on(world: World) -> None:
    await world.send(request(b"refuse"))
    await world.send(request(b"again"))
    assert world.answers() == [b"status 14", b"AGAIN"]


@pytest.mark.parametrize(("path", "verb"), [(b"/test.Service/Nosuch", b"POST"), (PATH, b"PUT"), (b"/", b"POST")])
async def test_what_is_not_served_is_unimplemented(world: World, path: bytes, verb: bytes) -> None:
    await world.send(request(b"hello", path=path, verb=verb))
    assert world.answers() == [b"status 12"]
    assert world.asked == []


async def test_a_page_in_a_browser_cannot_ask(world: World) -> None:
    await world.send(request(b"hello", kind=b"text/plain"))
    assert (world.asked, world.answers()) == ([], [b"415 Unsupported Media Type"])


async def test_health_is_whether_the_process_serves(world: World) -> None:
    await world.send(HEALTH)
    world.serving = False
    await world.send(HEALTH)
    assert world.answers() == [b"200 OK", b"503 Service Unavailable"]
    assert not world.wire.closed


async def test_what_is_no_http_ends_the_connection(world: World) -> None:
    await world.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert (world.answers(), world.wire.closed) == ([b"400 Bad Request"], True)


async def test_a_connection_that_would_become_another_protocol_ends(world: World) -> None:
    await world.send(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
    assert (world.answers()[-1], world.wire.closed) == (b"400 Bad Request", True)


def endless_headers() -> Iterator[bytes]:
    yield b"POST /x HTTP/1.1\r\n"
    while True:
        yield b"x-%b: y\r\n" % (b"x" * 100)


def endless_body() -> Iterator[bytes]:
    yield b"POST %b HTTP/1.1\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n" % PATH
    while True:
        yield b"64\r\n%b\r\n" % (b"x" * 100)


def endless_chunk_names() -> Iterator[bytes]:
    yield b"POST %b HTTP/1.1\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n1" % PATH
    while True:
        yield b";name=%b" % (b"x" * 100)


@pytest.mark.parametrize(
    ("endless", "told"),
    [
        (endless_headers(), b"431 Request Header Fields Too Large"),
        (endless_body(), b"status 8"),
        (endless_chunk_names(), b"431 Request Header Fields Too Large"),
    ],
)
async def test_what_never_ends_is_cut_off(world: World, endless: Iterator[bytes], told: bytes) -> None:
    sent = 0
    while not world.wire.closed and sent < 2 * (MOST + MOST_HEADER_BYTES):
        data = next(endless)
        sent += len(data)
        await world.send(data)
    assert (world.answers(), world.wire.closed, world.asked) == ([told], True, [])
    await world.send(request(b"more"))
    assert world.asked == []


async def test_one_who_asks_to_close_is_answered_first(world: World) -> None:
    await world.send(request(b"hello", headers=b"connection: close\r\n"))
    assert (world.answers(), world.wire.closed) == ([b"HELLO"], True)
    assert b"connection: close" in world.wire.written


async def test_at_the_end_an_idle_connection_closes_at_once(world: World) -> None:
    await world.send(request(b"hello"))
    world.connection.end()
    assert world.wire.closed


async def test_at_the_end_a_question_under_way_is_answered_first(world: World) -> None:
    world.may_answer.clear()
    await world.send(request(b"hello"))
    world.connection.end()
    assert not world.wire.closed
    world.may_answer.set()
    await world.settled()
    assert (world.answers(), world.wire.closed) == ([b"HELLO"], True)
    assert b"connection: close" in world.wire.written


async def test_at_the_end_a_question_that_is_coming_in_is_answered_first(world: World) -> None:
    whole = request(b"hello")
    await world.send(whole[:50])
    world.connection.end()
    await world.send(whole[50:])
    assert (world.answers(), world.wire.closed) == ([b"HELLO"], True)


async def test_an_idle_connection_may_wait_for_long(world: World) -> None:
    await world.send(request(b"hello"))
    now = asyncio.get_running_loop().time()
    assert not world.connection.is_overdue(now + IDLE_SECONDS - 5)
    assert world.connection.is_overdue(now + IDLE_SECONDS + 1)


async def test_a_question_that_trickles_in_may_not(world: World) -> None:
    whole = request(b"hello")
    await world.send(whole[:20])
    began = asyncio.get_running_loop().time()
    await world.send(whole[20:40])
    assert not world.connection.is_overdue(began + CALL_SECONDS - 5)
    assert world.connection.is_overdue(began + CALL_SECONDS + 1)


async def test_an_answer_that_does_not_come_may_not_either(world: World) -> None:
    world.may_answer.clear()
    await world.send(request(b"hello"))
    assert world.connection.is_overdue(asyncio.get_running_loop().time() + CALL_SECONDS + 1)
    world.connection.cut_off()
    world.connection.connection_lost(None)
    await world.settled()
    assert world.wire.written == b""
