"""The measurement: in each round everybody is started, asked and stopped, one after the other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec

from load.measuring import wrk
from load.measuring.generator import MeasurementError, output_of
from load.measuring.home import Home, StartError
from load.measuring.ports import free_port
from load.measuring.progress import say
from load.measuring.speed import Outcome, TimedLoad
from load.measuring.waiting import until
from load.peers import processes
from load.peers.asking import PATH, Answers, Ask, Kind, grpc_call
from load.peers.calls import Calls
from load.peers.contender import Contender, Grpc, Running
from load.peers.gateways import mock_command
from load.peers.processes import Memory
from load.peers.results import Answered, Called, Process, Streamed

AT_ONCE = (1, 10, 50, 200)
_WARM_UP_SECONDS = 1
_SETTLE_SECONDS = 60.0
_WHEN_TO_LOOK = 0.7
"""At which share of a run the memory is noted."""
_MOST_MODEL_CALLS = 0.02
"""What share of the answers may come from the model where a cache is measured."""

Row = TypeVar("Row", bound=Called)


class _StreamsReport(msgspec.Struct):
    """What the client of streams writes."""

    streams: int
    failures: int
    complaint: str
    deltas_per_second: float
    events_per_second: float
    first_p50_ms: float | None
    first_p99_ms: float | None
    gap_p50_ms: float | None
    gap_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Model:
    """The mock that is behind everybody."""

    address: str

    @property
    def base(self) -> str:
        return f"{self.address}/v1"

    async def calls(self) -> int:
        async with aiohttp.request("GET", f"{self.address}/calls") as response:
            return int(await response.text())


@asynccontextmanager
async def running_model(home: Home, tools: Path) -> AsyncIterator[Model]:
    """Killed at the end."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    async with home.running("mock", mock_command(tools, port), {}, Answers(Ask(address + PATH))):
        yield Model(address)


@dataclass(frozen=True, slots=True)
class Bench:
    """What measures, and what it has measured."""

    wrk: str
    ghz: str
    tools: Path
    model: Model
    seconds: int
    answers: list[Answered] = field(default_factory=list)
    grpc: list[Called] = field(default_factory=list)
    streams: list[Streamed] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    """Runs that did not measure what they were to, and why."""

    async def round(self, number: int, contenders: Sequence[Contender]) -> None:
        """Everybody once. Who was first comes last in the next round. Who fails is set aside, and the run goes on."""
        first = (number - 1) % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            say(f"round {number}: {contender.name} ...")
            # In a folder of its own: it finds nothing of the rounds before.
            try:
                async with Home.made() as home, contender.start(home, self.model.base) as running:
                    await self._measure(contender.name, number, running)
            except (MeasurementError, StartError, TimeoutError) as error:
                say(str(error))
                first_line = str(error).partition("\n")[0] or type(error).__name__
                self._set_aside(f"{contender.name}, round {number}, from some point on: {first_line}")

    async def _measure(self, name: str, number: int, running: Running) -> None:
        if running.grpc:
            await self._calls(name, number, running.grpc)
        if running.first_answer_seconds is not None:
            await self._completions(name, number, running, running.first_answer_seconds)

    async def _completions(self, name: str, number: int, running: Running, first_answer_seconds: float) -> None:
        seen: list[Memory] = []
        for kind, ask in running.asks.items():
            await self._answers(name, kind, ask, AT_ONCE[1], _WARM_UP_SECONDS, number)
            for at_once in AT_ONCE:
                async with _watched(running.pid, seen, after=self.seconds * _WHEN_TO_LOOK):
                    row = await self._answers(name, kind, ask, at_once, self.seconds, number)
                self._keep(f"{kind} over REST", row, self.answers, fault_of(row))
        ask = running.asks["computed"]
        for at_once in AT_ONCE:
            async with _watched(running.pid, seen, after=self.seconds * _WHEN_TO_LOOK):
                self.streams.append(await self._streams(name, ask, at_once, number))
        self.processes.append(
            Process(
                contender=name,
                round=number,
                first_answer_seconds=first_answer_seconds,
                memory=max(seen, key=lambda memory: memory.pss),
            )
        )

    async def _answers(self, name: str, kind: Kind, ask: Ask, at_once: int, seconds: int, number: int) -> Answered:
        await _settled(ask)
        before = await self.model.calls()
        outcome = await self._outcome(name, ask, TimedLoad(seconds, at_once))
        return Answered(
            contender=name,
            kind=kind,
            at_once=at_once,
            round=number,
            per_second=outcome.calls_per_second,
            p50_ms=outcome.p50_ms,
            p99_ms=outcome.p99_ms,
            answered=outcome.answered,
            errors=dict(outcome.errors),
            model_calls=await self.model.calls() - before,
        )

    async def _outcome(self, name: str, ask: Ask, load: TimedLoad) -> Outcome:
        """Whoever answers nothing in that time has none, and the run goes on."""
        try:
            return await wrk.measure(self.wrk, ask.url, ask.request(), load)
        except MeasurementError as error:
            say(f"{name}, {load.callers} at once: {error}")
            return Outcome(load.seconds, 0, {"without an answer": load.callers}, None, None, None)

    async def _calls(self, name: str, number: int, grpc: Grpc) -> None:
        calls = Calls(self.ghz, grpc.address, grpc_call(grpc.metadata))
        await calls.made(name, number, AT_ONCE[1], _WARM_UP_SECONDS)  # fills the cache, too
        for at_once in AT_ONCE:
            before = await self.model.calls()
            row = await calls.made(name, number, at_once, self.seconds)
            self._keep("cached over gRPC", row, self.grpc, _fault_of_cached(row, await self.model.calls() - before))

    def _keep(self, what: str, row: Row, rows: list[Row], fault: str) -> None:
        if fault:
            self._set_aside(f"{row.contender}, round {row.round}, {what}, {row.at_once} at once: {fault}")
        else:
            rows.append(row)

    def _set_aside(self, run: str) -> None:
        say(f"set aside: {run}")
        self.set_aside.append(run)

    async def _streams(self, name: str, ask: Ask, at_once: int, number: int) -> Streamed:
        await _settled(ask)
        command, body = ask.streamed(str(self.tools / "streams"), at_once, self.seconds)
        report = msgspec.json.decode(await output_of(command, body), type=_StreamsReport)
        if report.complaint:
            say(f"{name}, {at_once} streams at once: {report.failures} failed, such as with: {report.complaint}")
        measured = {field: value for field, value in msgspec.structs.asdict(report).items() if field != "complaint"}
        return Streamed(contender=name, at_once=at_once, round=number, **measured)


async def _settled(ask: Ask) -> None:
    """Returns when one that asks alone is answered: after what the run before has left. It fills the cache, too."""
    await until("an answer after a run", Answers(ask).passes, seconds=_SETTLE_SECONDS)


def fault_of(row: Answered) -> str:
    """Why something else was measured than the row says; empty if nothing was."""
    if row.kind == "cached":
        return _fault_of_cached(row, row.model_calls)
    # The mock by itself is not the one that counts.
    if row.model_calls and row.model_calls < row.answered:
        return f"{row.answered} answers of {row.model_calls} by the model"
    return ""


def _fault_of_cached(row: Called, model_calls: int) -> str:
    is_cached = model_calls <= _MOST_MODEL_CALLS * row.answered + row.at_once
    return "" if is_cached else f"it asked the model {model_calls} times for {row.answered} answers of its cache"


@asynccontextmanager
async def _watched(pid: int, seen: list[Memory], *, after: float) -> AsyncIterator[None]:
    """Notes the memory of the process and its descendants once, so many seconds after the beginning."""

    async def look() -> None:
        await asyncio.sleep(after)
        seen.append(await asyncio.to_thread(processes.memory, pid))

    looking = asyncio.create_task(look())
    try:
        yield
        await looking
    finally:
        looking.cancel()
