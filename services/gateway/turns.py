"""Whole turns: what was found in the cache a moment ago is repeated, the rest is for an agent."""

import time
from functools import partial
from typing import NamedTuple

from starlette.requests import Request

from meshkit import call, near_cache
from meshkit.identity import Identity
from meshkit.near_turns import NearTurns
from services.gateway.agent_client import AgentClient, RunningTurn
from services.gateway.disconnects import while_connected
from shoal.agent.v1 import agent_pb2 as pb


class Answer(NamedTuple):
    """A completed turn, and the headers that say who served it and how the cache was used."""

    response: pb.ExecuteResponse
    headers: dict[str, str]


class Turns:
    """Runs turns on behalf of the current call. All raise ShoalError, and ClientDisconnect if the client leaves."""

    def __init__(self, *, agent: AgentClient, near: NearTurns) -> None:
        self._agent = agent
        self._near = near

    async def execute(self, turn: pb.ExecuteRequest, request: Request) -> Answer:
        """The completed turn."""
        caller, asked_at = call.current().identity, time.monotonic()
        if near := self._near.find(turn, caller, asked_at):
            return Answer(near, {call.CACHE_HEADER: near_cache.HIT, call.CACHE_KEY_HEADER: near.cache.key})
        answer = Answer(*await while_connected(request, self._agent.execute(turn)))
        self._near.learn(turn, caller, answer.response, asked_at=asked_at)
        self._completed(turn, caller)
        return answer

    async def stream(self, turn: pb.ExecuteRequest, request: Request) -> RunningTurn:
        """A turn that has begun. The caller cancels it."""
        completed = partial(self._completed, turn, call.current().identity)
        return await while_connected(request, self._agent.stream(turn, completed=completed))

    def _completed(self, turn: pb.ExecuteRequest, caller: Identity) -> None:
        if turn.cache.mode == pb.CACHE_MODE_REFRESH:
            self._near.forget(turn, caller, time.monotonic())
