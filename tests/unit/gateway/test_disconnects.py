"""Work for a client that may leave before it is done."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from services.gateway.disconnects import while_connected


class Client:
    """A client that stays until it is told to leave."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.request = Request({"type": "http", "headers": []}, self._receive)

    async def _receive(self) -> Message:
        await self.leaves.wait()
        return {"type": "http.disconnect"}


async def test_a_client_that_stays_gets_the_result() -> None:
    async def work() -> str:
        return "done"

    assert await while_connected(Client().request, work()) == "done"


async def test_a_client_that_stays_gets_the_error() -> None:
    async def work() -> str:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await while_connected(Client().request, work())


async def test_when_the_client_leaves_the_work_is_stopped_before_anything_else_happens() -> None:
    client, stopped = Client(), False

    async def work() -> None:
        nonlocal stopped
        client.leaves.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            stopped = True

    with pytest.raises(ClientDisconnect):
        await while_connected(client.request, work())
    assert stopped


async def test_when_the_server_stops_the_work_is_stopped_too() -> None:
    began, stopped = asyncio.Event(), False

    async def work() -> None:
        nonlocal stopped
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped = True

    serving = asyncio.create_task(while_connected(Client().request, work()))
    await began.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert stopped
