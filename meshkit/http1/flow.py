"""How a connection keeps pace with its other end, both ways."""

import asyncio


class FlowControl(asyncio.Protocol):
    """The part of a connection that waits while nobody reads at the other end, or has the other end wait.

    Whoever derives from it sets `_transport`, and resumes writing when the connection is lost.
    """

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._room: asyncio.Future[None] | None = None
        """Set while too much waits to be sent."""

    async def drained(self) -> None:
        """Until only little waits to be sent; of a connection that has ended, until that was told."""
        if self._transport.is_closing():
            # Nothing is sent any more, and whoever writes on and on would not let the loop tell that to the call.
            self.pause_writing()
        if self._room is not None:
            await asyncio.shield(self._room)

    def hold(self, *, is_held: bool) -> None:
        """Whether what the other end sends is to wait."""
        if is_held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # What asyncio tells; the names are its own.

    def pause_writing(self) -> None:
        self._room = self._room or self._loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
