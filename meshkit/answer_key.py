"""The answer key: one digest of everything that could change an answer."""

import hashlib
from typing import Any

import msgspec


class AnswerIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What makes two answers the same answer. Every field is part of the key; there are no others.

    Values of type `Any` are JSON-like: None, bool, int, float, str, lists and dicts with string keys.
    """

    tenant: str
    policy: str
    agent: str
    """Name and version of the agent."""
    requested_model: str
    """What the caller asked for, not what was chosen."""
    parameters: Any
    system_prompt: str
    tools: Any
    task: str
    context: Any
    preferences: Any
    """The preferences that were used."""
    history: Any
    """The messages before the task."""


def answer_key(identity: AnswerIdentity) -> str:
    """64 hexadecimal digits: SHA-256 over canonical JSON (sorted keys, no spaces, UTF-8)."""
    return hashlib.sha256(msgspec.json.encode(identity, order="deterministic")).hexdigest()
