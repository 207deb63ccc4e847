"""How an answer's pieces become one write."""

import asyncio

from services.gateway.one_write import GATHERED_MAX_BYTES, GatheringTransport


class Wire(asyncio.Transport):
    """A transport that shows what was written, and when it was closed."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5)})
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closed
        self.written.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def gathering() -> tuple[Wire, GatheringTransport]:
    wire = Wire()
    return wire, GatheringTransport(wire, asyncio.get_running_loop())


async def test_what_is_written_at_once_leaves_together_and_in_order() -> None:
    wire, transport = gathering()
    for piece in (b"header ", b"body ", b"end"):
        transport.write(piece)
    assert wire.written == []
    await asyncio.sleep(0)
    assert wire.written == [b"header body end"]


async def test_what_is_written_later_leaves_later() -> None:
    wire, transport = gathering()
    for piece in (b"one", b"two"):
        transport.write(piece)
        await asyncio.sleep(0)
    assert wire.written == [b"one", b"two"]


async def test_much_leaves_at_once_so_that_its_writer_learns_of_a_slow_reader() -> None:
    wire, transport = gathering()
    transport.write(b"x" * GATHERED_MAX_BYTES)
    transport.write(b"y")
    assert wire.written == [b"x" * GATHERED_MAX_BYTES + b"y"]
    await asyncio.sleep(0)
    assert len(wire.written) == 1


async def test_a_connection_is_closed_behind_what_was_written() -> None:
    wire, transport = gathering()
    transport.write(b"last")
    transport.close()
    assert (wire.written, wire.is_closed) == ([b"last"], True)
    await asyncio.sleep(0)
    assert wire.written == [b"last"]


async def test_nothing_is_written_to_a_connection_that_was_cut_meanwhile() -> None:
    wire, transport = gathering()
    transport.write(b"lost")
    wire.abort()
    await asyncio.sleep(0)
    assert wire.written == []


async def test_all_else_is_asked_of_the_connection() -> None:
    wire, transport = gathering()
    assert transport.get_extra_info("peername") == ("127.0.0.1", 5)  # type: ignore[operator]
    wire.close()
    assert transport.is_closing()  # type: ignore[operator]
