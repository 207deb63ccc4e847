"""How a connection to a server ends: with its process, and under those who take too long."""

import asyncio

import pytest

from meshkit.http1.server_connection import ARRIVAL_SECONDS, IDLE_SECONDS, LAST_SECONDS
from tests.unit.meshkit.http1.served import Served
from tests.unit.meshkit.http1.wire import head, request, settled

CLOSING = b"\r\nconnection: close\r\n"


@pytest.fixture
async def served() -> Served:
    return Served()


async def test_at_the_end_an_idle_connection_closes_at_once(served: Served) -> None:
    await served.send(request(b"Echo", b"hello"))
    served.connection.end()
    assert served.transport.closed


@pytest.mark.parametrize("method", [b"Echo", b"Gather"])
async def test_at_the_end_a_call_under_way_is_answered_first(served: Served, method: bytes) -> None:
    served.may_go_on.clear()
    await served.send(request(method, b"hello"))
    served.connection.end()
    assert not served.transport.closed
    served.may_go_on.set()
    await settled()
    assert (len(served.answers()), served.transport.closed) == (1, True)
    assert CLOSING in served.transport.written


async def test_at_the_end_a_call_that_is_coming_in_is_answered_first(served: Served) -> None:
    whole = request(b"Echo", b"hello")
    await served.send(whole[:50])
    served.connection.end()
    await served.send(whole[50:])
    assert (served.answers(), served.transport.closed) == ([b"HELLO"], True)


@pytest.mark.parametrize("method", [b"Echo", b"Repeat", b"Gather"])
async def test_a_call_that_is_broken_off_is_told_so_and_its_handler_cancelled(served: Served, method: bytes) -> None:
    served.may_go_on.clear()
    await served.send(request(method, b"hello"))
    served.connection.break_off()
    await settled()
    assert served.answers()[-1] == b"status 14"
    assert served.transport.closed
    assert len(served.cancelled) == 1


async def test_an_idle_connection_may_wait_for_long(served: Served) -> None:
    await served.send(request(b"Echo", b"hello"))
    now = asyncio.get_running_loop().time()
    assert not served.connection.is_overdue(now + IDLE_SECONDS - 5)
    assert served.connection.is_overdue(now + IDLE_SECONDS + 1)


async def test_a_request_that_stands_still_may_wait_too(served: Served) -> None:
    await served.send(head(b"Echo"))
    now = asyncio.get_running_loop().time()
    assert not served.connection.is_overdue(now + ARRIVAL_SECONDS - 5)
    assert served.connection.is_overdue(now + ARRIVAL_SECONDS + 1)


async def test_what_still_comes_in_is_waited_for_a_little_at_the_end(served: Served) -> None:
    await served.send(request(b"Echo")[:10])
    served.connection.end()
    now = asyncio.get_running_loop().time()
    assert not served.connection.is_overdue(now + LAST_SECONDS - 5)
    assert served.connection.is_overdue(now + LAST_SECONDS + 1)


@pytest.mark.parametrize("data", [request(b"Echo", b"hello"), head(b"Gather")])
async def test_a_call_at_work_may_take_what_its_deadline_lets_it(served: Served, data: bytes) -> None:
    served.may_go_on.clear()
    await served.send(data)
    assert not served.connection.is_overdue(asyncio.get_running_loop().time() + 10 * ARRIVAL_SECONDS)


async def test_who_is_cut_off_is_gone(served: Served) -> None:
    served.may_go_on.clear()
    await served.send(request(b"Echo", b"hello"))
    served.connection.cut_off()
    assert served.transport.closed
    await served.leave()
    assert (served.transport.written, served.cancelled) == (b"", [b"hello"])
