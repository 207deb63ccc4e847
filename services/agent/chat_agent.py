"""The agent that Shoal brings: it hands the prompt to the model and the answer to the caller."""

from collections.abc import AsyncGenerator

from services.agent.conversation import AnswerEvent
from services.agent.ports import AgentTurn, ChatModel, ChatRequest


class ChatAgent:
    """One call of the model per turn."""

    name = "chat"
    version = "1"

    def __init__(self, model: ChatModel) -> None:
        self._model = model

    def run(self, turn: AgentTurn) -> AsyncGenerator[AnswerEvent, None]:
        return self._model.chat(
            ChatRequest(
                model=turn.model,
                messages=turn.messages,
                sampling=turn.sampling,
                tools=turn.tools,
                tool_choice=turn.tool_choice,
                output_caching=turn.output_caching,
                in_one_piece=turn.in_one_piece,
            )
        )
