"""Turns that never end by themselves."""

import asyncio

from meshkit import call
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.meshkit.guarded_server import TIMEOUT_SECONDS, Responses

BEGINNING = pb.ExecuteStreamResponse(delta=pb.Delta(text="Hel"))


class Endless:
    """Handlers for one call; they remember that it was stopped."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.stopped_in = ""
        """The id of the request that was current when the call stopped."""
        self._stopped = asyncio.Event()

    async def waits(self, request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self._stop()
        return pb.ExecuteResponse()

    async def streams(self, request: pb.ExecuteStreamRequest) -> Responses:
        """Says BEGINNING, and then nothing."""
        try:
            yield BEGINNING
            await asyncio.Event().wait()
        finally:
            self._stop()

    async def floods(self, request: pb.ExecuteStreamRequest) -> Responses:
        """Says more than anybody reads: who does not read has it stand at its yield."""
        try:
            while True:
                yield pb.ExecuteStreamResponse(delta=pb.Delta(text="x" * 1_000_000))
        finally:
            self._stop()

    @property
    def has_stopped(self) -> bool:
        return self._stopped.is_set()

    async def stopped(self) -> None:
        """Returns when the call has."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self._stopped.wait()

    def _stop(self) -> None:
        self._stopped.set()
        self.stopped_in = call.current().request_id
