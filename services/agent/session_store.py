"""Sessions in memory, for tests and as the plainest statement of what a session store does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.agent.conversation import Message
from services.agent.ports import Session

SESSION_TTL_SECONDS = 3600.0
KEPT_MESSAGES = 200
"""The most messages that a session keeps; the oldest go first."""


@dataclass(slots=True)
class _Record:
    messages: list[Message]
    expires: float


class MemorySessionStore:
    """Sessions of one process. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._records: dict[tuple[str, str], _Record] = {}
        self._epochs: dict[tuple[str, str], int] = {}

    async def load(self, tenant: str, session_id: str) -> Session:
        key = (tenant, session_id)
        record = self._living(key)
        if record is None:
            return Session(self._epochs.get(key, 0), (), 0.0)
        record.expires = self._clock() + SESSION_TTL_SECONDS
        return Session(self._epochs.get(key, 0), tuple(record.messages), SESSION_TTL_SECONDS)

    async def append(self, tenant: str, session_id: str, *, epoch: int, messages: Sequence[Message]) -> bool:
        key = (tenant, session_id)
        if self._epochs.get(key, 0) != epoch:
            return False
        record = self._living(key)
        kept = [*(record.messages if record else ()), *messages][-KEPT_MESSAGES:]
        self._records[key] = _Record(kept, self._clock() + SESSION_TTL_SECONDS)
        return True

    async def delete(self, tenant: str, session_id: str) -> bool:
        key = (tenant, session_id)
        existed = self._living(key) is not None
        self._records.pop(key, None)
        self._epochs[key] = self._epochs.get(key, 0) + 1
        return existed

    def _living(self, key: tuple[str, str]) -> _Record | None:
        record = self._records.get(key)
        return record if record and self._clock() < record.expires else None
