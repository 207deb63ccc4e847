"""A model in memory: it lists what it is told to list, and answers what it is told to answer."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from meshkit.errors import Reason, ShoalError
from services.agent.conversation import AnswerEvent
from services.agent.ports import ChatRequest, ModelInfo


class ScriptedModel:
    """Answers while the gate is open; counts how often its list was asked for."""

    def __init__(self, *names: str, answer: Sequence[AnswerEvent] = ()) -> None:
        self.names = list(names)
        self.answer = answer
        self.requests: list[ChatRequest] = []
        self.listed = 0
        self.is_out_of_order = False
        self.was_asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def chat(self, request: ChatRequest) -> AsyncGenerator[AnswerEvent, None]:
        self.requests.append(request)
        for event in self.answer:
            yield event

    async def models(self) -> Sequence[ModelInfo]:
        self.listed += 1
        self.was_asked.set()
        await self.gate.wait()
        if self.is_out_of_order:
            raise ShoalError(Reason.MODEL_UNAVAILABLE, "The model is out of order.")
        return [ModelInfo(name) for name in self.names]
