"""One connection to Envoy: what its calls are told of the answers that come, and of those that do not."""

import asyncio

import grpc
import pytest

from meshkit.http1.exchange import Exchange
from meshkit.http1.framing import MOST_WAITING
from tests.unit.meshkit.http1.called import MOST, Called
from tests.unit.meshkit.http1.wire import answer, byte_by_byte, refusal, settled


@pytest.fixture
async def called() -> Called:
    return Called()


async def failure(exchange: Exchange) -> grpc.aio.AioRpcError:
    """What a call for one message is told; it is over."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asyncio.wait_for(exchange.only(), 10)
    return raised.value


async def all_of(exchange: Exchange) -> list[bytes]:
    messages = []
    async with asyncio.timeout(10):
        while (message := await exchange.next()) is not None:
            messages.append(message)
    return messages


async def test_calls_are_made_one_after_the_other(called: Called) -> None:
    for _ in range(3):
        exchange = called.begin()
        await called.receive(answer(b"hello", headers=b"X-Replica: one\r\n"))
        assert await exchange.only() == b"hello"
        assert ("x-replica", "one") in await exchange.head()
    assert called.transport.written == b"request" * 3
    assert called.told == ["freed", "freed", "freed"]


async def test_an_answer_may_come_byte_by_byte(called: Called) -> None:
    exchange = called.begin()
    await called.receive(*byte_by_byte(answer(b"one", b"two")))
    assert await all_of(exchange) == [b"one", b"two"]


async def test_a_large_message_comes_in_pieces(called: Called) -> None:
    message = bytes(range(256)) * 400
    whole = answer(message)
    exchange = called.begin()
    await called.receive(*(whole[place : place + 1500] for place in range(0, len(whole), 1500)))
    assert await exchange.only() == message


async def test_the_head_of_an_answer_is_told_before_its_end(called: Called) -> None:
    exchange = called.begin()
    whole = answer(b"hello", headers=b"x-replica: one\r\n")
    await called.receive(whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    assert ("x-replica", "one") in await asyncio.wait_for(exchange.head(), 10)
    assert not exchange.is_over


async def test_a_refusal_may_be_headers_alone(called: Called) -> None:
    exchange = called.begin()
    await called.receive(refusal(b"5", b"Not%20here.", headers=b"x-why: gone\r\n"))
    error = await failure(exchange)
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "Not here.")
    assert ("x-why", "gone") in tuple(error.trailing_metadata())
    assert called.told == ["freed"]


async def test_a_failure_comes_behind_the_messages_before_it(called: Called) -> None:
    exchange = called.begin()
    await called.receive(answer(b"one", status=b"14", trailers=b"x-why: gone\r\n"))
    assert await exchange.next() == b"one"
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await exchange.next()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert tuple(raised.value.trailing_metadata()) == (("x-why", "gone"),)


@pytest.mark.parametrize(
    ("first_line", "code"),
    [
        (b"503 Service Unavailable", grpc.StatusCode.UNAVAILABLE),
        (b"400 Bad Request", grpc.StatusCode.INTERNAL),
        (b"200 OK", grpc.StatusCode.UNKNOWN),
    ],
)
@pytest.mark.parametrize("body", [b"", b"no", b"no healthy upstream"])
async def test_an_answer_that_is_none_of_grpc_is_known_by_its_http_status(
    called: Called, first_line: bytes, code: grpc.StatusCode, body: bytes
) -> None:
    exchange = called.begin()
    await called.receive(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (first_line, len(body), body))
    assert (await failure(exchange)).code() is code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"what?", grpc.StatusCode.INTERNAL),
        (b"HTTP/1.1 101 Other\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nabc", grpc.StatusCode.UNKNOWN),
        (answer(), grpc.StatusCode.INTERNAL),
        (answer(b"one", b"two"), grpc.StatusCode.INTERNAL),
        (answer(b"x" * (MOST + 1)), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (answer(status=b"9" * 5000), grpc.StatusCode.UNKNOWN),
        (answer(b"one").replace(b"0\r\ngrpc", b"3\r\n\0\0\0\r\n0\r\ngrpc"), grpc.StatusCode.INTERNAL),
        (refusal(b"5", b"", headers=b"x-any-bin: *\r\n"), grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_what_is_no_answer_to_a_call_of_one_message_is_a_failure(
    called: Called, data: bytes, code: grpc.StatusCode
) -> None:
    exchange = called.begin()
    await called.receive(data)
    assert (await failure(exchange)).code() is code


async def test_what_goes_wrong_behind_the_end_of_a_call_ends_the_connection_alone(called: Called) -> None:
    exchange = called.begin()
    await called.receive(answer(b"x" * (MOST + 1)) + b"what?")
    assert (await failure(exchange)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert called.transport.closed


async def test_a_flood_in_place_of_one_message_is_not_waited_for(called: Called) -> None:
    exchange = called.begin()
    waiting = asyncio.create_task(failure(exchange))
    await settled()
    await called.receive(answer(*[b"x"] * (MOST_WAITING + 1)).partition(b"0\r\ngrpc-status")[0])
    assert (await waiting).code() is grpc.StatusCode.INTERNAL


# Connections that end.


async def test_a_lost_connection_is_unavailable(called: Called) -> None:
    exchange = called.begin()
    await called.receive(answer(b"one").partition(b"0\r\ngrpc-status")[0])
    await called.lose()
    assert (await failure(exchange)).code() is grpc.StatusCode.UNAVAILABLE
    assert called.told == ["lost"]


async def test_a_connection_that_is_lost_before_its_call_is_unavailable_too(called: Called) -> None:
    await called.lose()
    exchange = called.begin()
    assert (await failure(exchange)).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_call_that_is_ended_cuts_its_line(called: Called) -> None:
    exchange = called.begin()
    exchange.fail(grpc.StatusCode.CANCELLED, "enough")
    assert called.transport.closed
    await called.lose()
    assert (await failure(exchange)).code() is grpc.StatusCode.CANCELLED


async def test_a_call_that_is_over_is_not_ended_again(called: Called) -> None:
    exchange = called.begin()
    await called.receive(answer(b"hello"))
    exchange.fail(grpc.StatusCode.CANCELLED, "enough")
    assert not called.transport.closed
    assert await exchange.only() == b"hello"


async def test_an_answer_that_says_so_is_the_last_of_its_connection(called: Called) -> None:
    exchange = called.begin()
    await called.receive(answer(b"hello", headers=b"connection: close\r\n"))
    assert await exchange.only() == b"hello"
    assert (called.transport.closed, called.told) == (True, [])


@pytest.mark.parametrize("unasked", [answer(b"evil"), b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"])
@pytest.mark.parametrize("together", [True, False])
async def test_what_nobody_asked_for_is_no_calls_answer(called: Called, unasked: bytes, together: bool) -> None:
    exchange = called.begin()
    packets = (answer(b"hello"), unasked)
    await called.receive(*((b"".join(packets),) if together else packets))
    assert await exchange.only() == b"hello"
    assert called.transport.closed
    assert called.told == ["freed"]


# Requests that are sent in parts.


async def test_a_request_may_follow_in_parts(called: Called) -> None:
    exchange = called.begin(is_whole=False)
    await called.connection.send(b"-more")
    called.connection.end(b"-end")
    await called.receive(answer(b"hello"))
    assert await exchange.only() == b"hello"
    assert (called.transport.written, called.told) == (b"request-more-end", ["freed"])


async def test_who_answers_before_the_end_of_a_request_gets_no_more_of_it(called: Called) -> None:
    exchange = called.begin(is_whole=False)
    await called.receive(refusal(b"8", b"Enough."))
    assert (await failure(exchange)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    called.connection.end(b"-end")
    assert (called.transport.written, called.transport.closed) == (b"request", True)
    assert called.told == []


async def test_a_request_waits_until_its_parts_are_on_their_way(called: Called) -> None:
    called.begin(is_whole=False)
    called.connection.pause_writing()
    sending = asyncio.create_task(called.connection.send(b"-more"))
    await settled()
    assert not sending.done()
    called.connection.resume_writing()
    await asyncio.wait_for(sending, 10)


async def test_sending_into_nothing_waits_until_the_call_knows(called: Called) -> None:
    """Otherwise, whoever has very much to send would keep the loop from telling it."""
    exchange = called.begin(is_whole=False)
    called.transport.closed = True
    sending = asyncio.create_task(called.connection.send(b"-more"))
    await settled()
    assert not sending.done()
    await called.lose()
    assert exchange.is_over
    await asyncio.wait_for(sending, 10)


# Readers that are slow.


async def test_a_stream_is_held_while_its_reader_is_slow(called: Called) -> None:
    exchange = called.begin()
    whole = answer(*[b"x"] * (MOST_WAITING + 1))
    messages, end, status = whole.partition(b"0\r\ngrpc-status")
    await called.receive(messages)
    assert not called.transport.is_reading()
    reading = asyncio.create_task(all_of(exchange))
    await settled()
    assert called.transport.is_reading()
    await called.receive(end + status)
    assert len(await reading) == MOST_WAITING + 1


async def test_a_connection_is_read_again_when_a_stream_that_came_at_once_is_over(called: Called) -> None:
    exchange = called.begin()
    await called.receive(answer(*[b"x"] * (MOST_WAITING + 1)))
    assert called.transport.is_reading()
    assert len(await all_of(exchange)) == MOST_WAITING + 1


async def test_few_messages_that_are_large_are_held_too(called: Called) -> None:
    called.begin()
    await called.receive(answer(b"x" * MOST, b"x").partition(b"0\r\ngrpc-status")[0])
    assert not called.transport.is_reading()


async def test_a_message_on_its_own_is_read_to_its_status_however_large_it_is(called: Called) -> None:
    exchange = Exchange(2 * MOST)
    called.connection.begin(exchange, b"request", is_whole=True)
    waiting = asyncio.create_task(exchange.only())
    message, end, status = answer(b"x" * (MOST + 1)).partition(b"0\r\ngrpc-status")
    await called.receive(message)
    assert called.transport.is_reading()
    await called.receive(end + status)
    assert len(await waiting) == MOST + 1


async def test_a_call_under_way_ends_with_its_connection_even_if_nothing_is_sent_yet(called: Called) -> None:
    exchange = called.begin()
    called.connection.close()
    assert (await failure(exchange)).code() is grpc.StatusCode.UNAVAILABLE
    assert called.transport.closed
