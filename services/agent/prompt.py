"""The prompt: what the model is shown of a turn."""

from collections.abc import Iterator, Sequence
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
        *_whole_exchanges(spoken),
        *([task] if task else []),
    )


def _whole_exchanges(messages: Sequence[Message]) -> Iterator[Message]:
    """Without calls of tools that were never answered and results whose calls were left out: models refuse both."""
    asked = {call.id for message in messages for call in message.tool_calls}
    answered = {message.tool_call_id for message in messages if message.role is Role.TOOL}
    for message in messages:
        calls = tuple(call for call in message.tool_calls if call.id in answered)
        says_nothing = message.role is Role.ASSISTANT and not (message.content or calls)
        is_stray = message.role is Role.TOOL and message.tool_call_id not in asked
        if not (says_nothing or is_stray):
            yield msgspec.structs.replace(message, tool_calls=calls)


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
