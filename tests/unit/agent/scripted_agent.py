"""An agent that follows a script."""

from collections.abc import AsyncGenerator, Awaitable, Callable

from services.agent.conversation import AnswerEvent
from services.agent.ports import AgentTurn

Step = AnswerEvent | BaseException | Callable[[], Awaitable[object]]
"""Say this, fail with this, or wait for this."""


class ScriptedAgent:
    """Takes the steps of its script in every turn, and knows whether a turn was left orderly."""

    name = "scripted"

    def __init__(self, *script: Step, version: str = "1") -> None:
        self.script = script
        self.version = version
        self.turns: list[AgentTurn] = []
        self.ended = 0
        """Turns that came to their end, were closed or failed."""

    async def run(self, turn: AgentTurn) -> AsyncGenerator[AnswerEvent, None]:
        self.turns.append(turn)
        try:
            for step in self.script:
                if isinstance(step, BaseException):
                    raise step
                if callable(step):
                    await step()
                else:
                    yield step
        finally:
            self.ended += 1
