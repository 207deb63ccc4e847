"""Bystanders: callers whose streams run through a fault that is not theirs, and must not be hurt by it.

    async def test_a_fault(mesh: Mesh, bystanders: BystandersOf) -> None:
        async with bystanders(mesh) as others:
            await others.quiet()
            ...  # the fault
            await others.during("a fault")

They are a process of their own, so that what the test does with its own processor time does not look like a gap.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from typing import Protocol

from tests.faults import bystander_streams
from tests.faults.bystander_streams import COMPLETED, REFUSED, Stream
from tests.faults.fault_report import FaultLine
from tests.mesh import Mesh

QUIET_ROUNDS = 2
ROUND_SECONDS = 60
"""A stream of theirs takes less than two."""


class BystandersOf(Protocol):
    """The fixture `bystanders`."""

    def __call__(self, mesh: Mesh, /, *, sse: int = 4, grpc: int = 4) -> AbstractAsyncContextManager["Bystanders"]: ...


class Bystanders:
    """Callers that stream at a fixed pace, one answer after the other. Made by `bystanders_of`."""

    def __init__(self, lines: asyncio.StreamReader, callers: int, report: list[FaultLine]) -> None:
        self._lines = lines
        self._callers = callers
        self._report = report
        self._quiet: list[Stream] = []

    async def quiet(self) -> None:
        """Learns how their streams come when nothing is wrong (about four seconds). Fails unless all complete."""
        self._quiet = [stream for _ in range(QUIET_ROUNDS) for stream in await self._round()]
        _assert_completed(self._quiet, spared="")

    async def during(self, fault: str, *, spared: str = "") -> None:
        """Call it at the end of a fault, or right after it struck. Waits until each of them has ended the stream that
        runs, and reports how all streams since `quiet` came. Fails unless they completed. Those of the replica
        `spared`, where its death is the fault, may break.
        """
        streams = await self._round()
        _assert_completed(streams, spared)
        quiet, during = _p99_ms(self._quiet), _p99_ms(streams)
        refused = sum(stream.outcome == REFUSED for stream in streams)
        self._report.append(FaultLine(fault, quiet, during, during / quiet, len(streams) - refused, refused))

    async def _round(self) -> list[Stream]:
        """The streams that ended since the last round, up to the one of each caller that runs now."""
        now, streams, done = time.monotonic(), list[Stream](), set[str]()
        while len(done) < self._callers:
            stream = await self._next()
            assert stream.ended - now < ROUND_SECONDS, f"not all come to their end, the last: {stream}"
            streams.append(stream)
            if stream.ended > now and stream.outcome == COMPLETED:
                done.add(stream.caller)
        return streams

    async def _next(self) -> Stream:
        async with asyncio.timeout(ROUND_SECONDS):
            line = await self._lines.readline()
        assert line, "the bystanders are gone"
        return Stream(**json.loads(line))


@asynccontextmanager
async def bystanders_of(
    report: list[FaultLine], mesh: Mesh, *, sse: int = 4, grpc: int = 4
) -> AsyncIterator[Bystanders]:
    """So many callers over each surface, with a tenant of their own, from their first stream to their last."""
    key = await asyncio.to_thread(mesh.create_key, tenant="bystanders", tier="premium")
    command = [sys.executable, "-m", bystander_streams.__name__, mesh.url, mesh.grpc_target, str(sse), str(grpc)]
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | {"BYSTANDERS_KEY": key},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield Bystanders(process.stdout, sse + grpc, report)
    finally:
        await _left(process)


async def _left(process: asyncio.subprocess.Process) -> None:
    """Ends them in order, so that no stream is cut and the next test finds the mesh idle."""
    try:
        async with asyncio.timeout(ROUND_SECONDS):
            await process.communicate(b"")
    finally:
        if process.returncode is None:
            process.kill()


def _assert_completed(streams: Iterable[Stream], spared: str) -> None:
    broken = [stream for stream in streams if stream.outcome not in (COMPLETED, REFUSED)]
    hurt = [stream for stream in broken if not (spared and stream.replica == spared)]
    assert not hurt, f"{len(hurt)} streams of bystanders broke, first: {hurt[0]}"


def _p99_ms(streams: Iterable[Stream]) -> float:
    gaps = [after - before for stream in streams for before, after in pairwise(stream.deltas)]
    return statistics.quantiles(gaps, n=100)[98] * 1000
