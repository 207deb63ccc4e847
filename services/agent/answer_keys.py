"""The keys under which answers are kept: what makes two turns, or two questions to a model, the same."""

from collections.abc import Sequence
from typing import Any

import msgspec

from meshkit.answer_key import AnswerIdentity, answer_key
from services.agent.conversation import Message, Sampling
from services.agent.ports import CachedKind, ChatRequest
from services.agent.request import TurnRequest


def response_key(
    request: TurnRequest,
    *,
    tenant: str,
    agent: str,
    system_prompt: str,
    history: Sequence[Message],
    preferences: dict[str, Any],
) -> str:
    """The key of a turn's answer. `agent` is its name and version, `history` and `preferences` those that are used.

    Which session and which user they come from, and how the cache may be used, change no answer.
    """
    return answer_key(
        AnswerIdentity(
            tenant=tenant,
            policy=CachedKind.RESPONSE,
            agent=agent,
            requested_model=request.model,
            parameters=_parameters(request.sampling),
            system_prompt=system_prompt,
            tools=(request.tools, request.tool_choice),
            task=request.task,
            context=request.context,
            preferences=preferences,
            history=history,
        )
    )


def model_output_key(request: ChatRequest, *, tenant: str) -> str:
    """The key of what a model says: all that it is shown, whichever agent shows it."""
    return answer_key(
        AnswerIdentity(
            tenant=tenant,
            policy=CachedKind.MODEL_OUTPUT,
            agent="",
            requested_model=request.model,
            parameters=_parameters(request.sampling),
            system_prompt="",
            tools=(request.tools, request.tool_choice),
            task="",
            context={},
            preferences={},
            history=request.messages,
        )
    )


def _parameters(sampling: Sampling) -> Sampling:
    return msgspec.structs.replace(
        sampling, temperature=_without_sign_of_zero(sampling.temperature), top_p=_without_sign_of_zero(sampling.top_p)
    )


def _without_sign_of_zero(number: float | None) -> float | None:
    """-0.0 is 0.0, but written otherwise in JSON."""
    return None if number is None else number + 0.0
