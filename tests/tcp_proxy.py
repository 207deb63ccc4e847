"""A TCP proxy that misbehaves when a test says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from load.measuring.ports import free_port


class TcpProxy:
    """Passes bytes on between 127.0.0.1:`port` and a server. Made by `tcp_proxy`."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.delay_seconds = 0.0
        """How long each piece of an answer is held back."""
        self._target_port = target_port
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def forget_connections(self) -> None:
        """Those that are open stay open, and nothing passes through them any more; new ones are as good as ever."""
        self._open.clear()
        self._open = asyncio.Event()
        self._open.set()

    def swallow(self) -> None:
        """From now on connections are taken, and nothing is passed on: a black hole."""
        self._open.clear()

    def pass_on(self) -> None:
        """Passes on again, also what was held back."""
        self._open.set()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Ends all connections and takes no new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task, is_open = asyncio.current_task(), self._open
        assert task is not None
        self._connections.add(task)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            try:
                async with asyncio.TaskGroup() as both_ways:
                    both_ways.create_task(self._pump(reader, server_writer, is_open))
                    both_ways.create_task(self._pump(server_reader, writer, is_open, holds_back=True))
            finally:
                server_writer.close()
        except* OSError:
            pass
        except* asyncio.CancelledError:
            pass
        finally:
            writer.close()
            self._connections.discard(task)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        is_open: asyncio.Event,
        *,
        holds_back: bool = False,
    ) -> None:
        while piece := await reader.read(65536):
            await is_open.wait()
            if holds_back and self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            writer.write(piece)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()


@asynccontextmanager
async def tcp_proxy(target_port: int) -> AsyncIterator[TcpProxy]:
    """A proxy that passes on until it is told otherwise; it is gone at the end."""
    proxy = TcpProxy(target_port)
    await proxy.listen()
    try:
        yield proxy
    finally:
        proxy.pass_on()
        await proxy.refuse()
