"""Callers of every kind, who ask one thing after the other as long as they are let."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import aiohttp
import grpc

from load.soak.calls import PATIENCE_SECONDS, BrokenError
from load.soak.grpc_caller import GrpcCaller
from load.soak.rest_caller import RestCaller
from load.soak.tally import Outcome, Tally

KNOWN_TASKS = 400
"""What is asked again and again, so that the cache is soon as full as it will be."""
CALLERS_OF_A_KIND = 2
PAUSE_SECONDS = 0.35
"""After each call, give or take a half: about 35 calls a second in all."""
TURNS_OF_A_SESSION = 5
_ERRORS = (aiohttp.ClientError, grpc.aio.AioRpcError, BrokenError, TimeoutError)

Ask = Callable[[int], Awaitable[Outcome]]
"""Makes a call that nobody else makes, with that number."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Who makes the calls."""

    rest: RestCaller
    grpc: GrpcCaller
    limited: RestCaller
    """Of a tenant whose limit is far below what it asks."""

    def kinds(self) -> list[tuple[str, Ask]]:
        """One entry for each caller."""
        alike: list[tuple[str, Ask]] = [
            ("REST, known task", lambda number: self.rest.ask(_known(number))),
            ("gRPC, known task", lambda number: self.grpc.ask(_known(number))),
            ("REST, known task computed anew", lambda number: self.rest.ask(_known(number), cache="refresh")),
            ("REST, new task", lambda number: self.rest.ask(_new(number), cache="bypass")),
            ("SSE, new task", lambda number: self.rest.stream(_new(number))),
            ("gRPC stream, new task", lambda number: self.grpc.stream(_new(number))),
            ("SSE, left in the middle", lambda number: self.rest.leave(_new(number))),
            ("gRPC stream, cancelled in the middle", lambda number: self.grpc.leave(_new(number))),
            ("REST, limited tenant", lambda number: self.limited.ask_limited(_known(number))),
        ]
        sessions = [("REST, session", Conversations(self.rest).go_on) for _ in range(CALLERS_OF_A_KIND)]
        return alike * CALLERS_OF_A_KIND + sessions


class Conversations:
    """Sessions of one caller: each has a few turns and is forgotten, and then the next begins."""

    def __init__(self, rest: RestCaller) -> None:
        self._rest = rest
        self._session_id = ""
        self._turns = 0

    async def go_on(self, number: int) -> Outcome:
        """The next call. After one that failed there is a new session, for nobody knows how far the old one is."""
        if self._turns == TURNS_OF_A_SESSION:
            self._turns = 0
            return await self._rest.forget(self._session_id)
        if not self._turns:
            self._session_id = f"soak-{number}"
        turns, self._turns = self._turns, 0
        outcome = await self._rest.ask(_new(number), session_id=self._session_id)
        self._turns = turns + 1
        return outcome


async def go_on(address: str, key: str, limited_key: str, tally: Tally) -> None:
    """Until it is cancelled."""
    numbers = itertools.count()
    async with (
        _session(address, key) as rest,
        _session(address, limited_key) as limited,
        grpc.aio.insecure_channel(address) as channel,
        asyncio.TaskGroup() as group,
    ):
        clients = Clients(RestCaller(rest), GrpcCaller(channel, key), RestCaller(limited))
        for kind, ask in clients.kinds():
            group.create_task(_again_and_again(kind, ask, numbers, tally))


async def _again_and_again(kind: str, ask: Ask, numbers: Iterator[int], tally: Tally) -> None:
    for number in numbers:
        began = time.monotonic()
        try:
            tally.count(kind, await ask(number))
        except _ERRORS as error:
            tally.failed(kind, f"{type(error).__name__}: {_said(error)}", began=began, ended=time.monotonic())
        await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))


def _said(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name} {error.details()}"
    return str(error)


def _session(address: str, key: str) -> aiohttp.ClientSession:
    patience = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    return aiohttp.ClientSession(f"http://{address}", headers={"X-API-Key": key}, timeout=patience)


def _known(number: int) -> str:
    return f"Describe shoal {number % KNOWN_TASKS}."


def _new(number: int) -> str:
    return f"Describe new shoal {number}."
