"""What a turn is told from before and what it leaves behind: its session and the user's preferences."""

import asyncio
from collections.abc import Sequence
from typing import Any

from meshkit.errors import Reason, ShoalError
from meshkit.identity import Identity, require_api_key, require_checked
from meshkit.ids import NEW_SESSION
from services.agent.conversation import AnswerEvent, Delta, Message, Role, ToolCall
from services.agent.ports import PreferenceStore, Session, SessionStore
from services.agent.request import TurnRequest

NO_SESSION = Session(epoch=0, messages=(), expires_in_seconds=0)


class Memory:
    """Sessions and preferences by tenant."""

    def __init__(self, *, sessions: SessionStore, preferences: PreferenceStore) -> None:
        self._sessions = sessions
        self._preferences = preferences

    async def load(self, request: TurnRequest, caller: Identity) -> tuple[Session, dict[str, Any]]:
        """Session and preferences together; when one of them fails, the other is given up."""
        if not request.user_id:  # The two tasks would cost most turns more than all else that is done here.
            return await self._load_session(request, caller), {}
        try:
            async with asyncio.TaskGroup() as loading:
                session = loading.create_task(self._load_session(request, caller))
                preferences = loading.create_task(self._load_preferences(request, caller))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return session.result(), preferences.result()

    async def remember(
        self, tenant: str, session_id: str, *, epoch: int, task: Message | None, answer: Sequence[AnswerEvent]
    ) -> None:
        """Adds task and answer to the session. Raises ShoalError SESSION_DELETED if it was deleted meanwhile."""
        text = "".join(event.text for event in answer if isinstance(event, Delta))
        calls = tuple(event for event in answer if isinstance(event, ToolCall))
        heard = Message(Role.ASSISTANT, text, tool_calls=calls)
        messages = [task, heard] if task else [heard]
        if not await self._sessions.append(tenant, session_id, epoch=epoch, messages=messages):
            raise ShoalError(
                Reason.SESSION_DELETED, "The session was deleted while this turn ran; the turn was not kept in it."
            )

    async def _load_session(self, request: TurnRequest, caller: Identity) -> Session:
        if request.session_id:
            require_checked(caller, "for sessions", field="session_id")
        if request.session_id in ("", NEW_SESSION):
            return NO_SESSION
        session = await self._sessions.load(caller.tenant, request.session_id)
        if caller.is_anonymous and not session.messages:
            raise ShoalError(
                Reason.SESSION_NOT_FOUND,
                f"There is no session {request.session_id!r}. Without an API key, begin one with session_id 'new'.",
                field="session_id",
            )
        return session

    async def _load_preferences(self, request: TurnRequest, caller: Identity) -> dict[str, Any]:
        if not request.user_id:
            return {}
        require_api_key(caller, "to use preferences (user_id)", field="user_id")
        return (await self._preferences.get(caller.tenant, request.user_id)).values
