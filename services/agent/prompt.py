"""The prompt: what the model is shown of a turn."""

from collections.abc import Sequence
from typing import Any

import msgspec

from services.agent.conversation import Message, Role

MAX_HISTORY = 50
"""Messages of history that are shown; earlier ones are left out."""


def user_message(task: str, context: dict[str, Any]) -> Message:
    """The task with its context, as the model and the session see it."""
    if not context:
        return Message(Role.USER, task)
    return Message(Role.USER, f"{task}\n\nContext, as JSON:\n{_json(context)}")


def compose(
    *, system_prompt: str, preferences: dict[str, Any], history: Sequence[Message], task: Message | None
) -> tuple[Message, ...]:
    """System, history, task. System messages in the history take the place of `system_prompt`."""
    own = [message.content for message in history if message.role is Role.SYSTEM]
    system = "\n\n".join(own) or system_prompt
    if preferences:
        system = f"{system}\n\nPreferences of the user, as JSON:\n{_json(preferences)}".strip()
    spoken = [message for message in history if message.role is not Role.SYSTEM][-MAX_HISTORY:]
    return (
        *([Message(Role.SYSTEM, system)] if system else []),
        *_from_a_whole_exchange(spoken),
        *([task] if task else []),
    )


def _from_a_whole_exchange(messages: Sequence[Message]) -> Sequence[Message]:
    """Without results of tools at the start whose calls were left out: models refuse those."""
    start = next((i for i, message in enumerate(messages) if message.role is not Role.TOOL), len(messages))
    return messages[start:]


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
