"""The connections of a channel that are free: which is used next, and which are given up."""

import asyncio

from meshkit.http1.client_connection import ClientConnection
from meshkit.http1.exchange import Exchange
from meshkit.http1.pool import Pool
from tests.unit.meshkit.http1.wire import FakeTransport, answer

SHORT_SECONDS = 0.05
PATIENCE_SECONDS = 10.0


def use(connection: ClientConnection) -> None:
    """A call from its beginning to its end."""
    connection.begin(Exchange(100), b"request", is_whole=True)
    connection.data_received(answer(b"hello"))


def used(pool: Pool) -> tuple[ClientConnection, FakeTransport]:
    """A connection that is free since a moment."""
    connection, transport = ClientConnection(pool), FakeTransport()
    connection.connection_made(transport)
    use(connection)
    return connection, transport


async def test_the_one_that_was_used_last_is_used_next_and_the_other_grows_old() -> None:
    pool = Pool("127.0.0.1:1", idle_seconds=SHORT_SECONDS)
    (_, old), (last, busy) = used(pool), used(pool)
    assert await pool.take() is last
    await asyncio.wait_for(old.is_gone.wait(), PATIENCE_SECONDS)
    assert not busy.closed


async def test_one_that_is_free_again_has_its_whole_time_again_and_no_more() -> None:
    pool = Pool("127.0.0.1:1", idle_seconds=SHORT_SECONDS)
    (_, old), (last, transport) = used(pool), used(pool)
    taken = await pool.take()
    await asyncio.wait_for(old.is_gone.wait(), PATIENCE_SECONDS)
    use(taken)
    assert await pool.take() is last, "it is kept behind one that was given up"
    use(taken)
    await asyncio.wait_for(transport.is_gone.wait(), PATIENCE_SECONDS)


async def test_one_that_was_lost_meanwhile_is_not_used() -> None:
    pool = Pool("127.0.0.1:1", idle_seconds=PATIENCE_SECONDS)
    (first, _), (_, lost) = used(pool), used(pool)
    lost.close()
    assert await pool.take() is first
    pool.close()
