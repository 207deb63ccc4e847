"""What a turn needs from the outside: small protocols, implemented by the adapters beside this file."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from services.agent.conversation import AnswerEvent, Message, Sampling, Tool


class OutputCaching(msgspec.Struct, frozen=True, kw_only=True):
    """Leave to take a model's output from the cache, and to keep it there; how is the turn's business."""

    tenant: str
    part_of: str
    """The key of the answer that the output is a part of: with it, the output is invalidated."""
    generation: int
    """That of the answer's lead: no output is taken from where less is known of what was invalidated."""
    refresh: bool
    """Whether no output is taken from the cache: the model is asked."""
    ttl_seconds: int | None
    tags: tuple[str, ...]
    """Those of the answer: with each of them, the output is invalidated."""


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is asked."""

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    tools: tuple[Tool, ...] = ()
    tool_choice: str = ""
    output_caching: OutputCaching | None = None
    """None: the model is asked, and its output is kept nowhere."""
    in_one_piece: bool = False
    """Whether the answer's text may come as a single delta, when all of it is there."""


class ChatModel(Protocol):
    """Language models behind one address."""

    def chat(self, request: ChatRequest) -> AsyncGenerator[AnswerEvent, None]:
        """Streams the answer; closing the iterator stops the model.

        Raises ShoalError MODEL_UNAVAILABLE, MODEL_TIMEOUT or MODEL_REFUSED, also in the middle of an answer.
        """
        ...

    async def models(self) -> Sequence["ModelInfo"]:
        """What is on offer. Raises ShoalError MODEL_UNAVAILABLE."""
        ...


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model on offer. `created` is Unix time in seconds, 0 if unknown."""

    id: str
    owned_by: str = ""
    created: int = 0


class AgentTurn(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent is given to work on. All of it but the last two is part of the answer's key, and nothing else may
    be: what an agent answers to the same turn is replayed from the cache."""

    model: str
    messages: tuple[Message, ...]
    """The whole prompt: system, history, task."""
    sampling: Sampling
    tools: tuple[Tool, ...]
    """The caller's tools. The agent does not run them; it ends with the calls."""
    tool_choice: str
    tenant: str
    output_caching: OutputCaching | None = None
    """To be handed on with what a model is asked; nothing else may depend on it. None if this turn is not to use the
    cache."""
    in_one_piece: bool = False
    """Whether nobody will see the pieces in which the answer comes, now or later: to be handed on with what a model is
    asked, by agents that do nothing else with them."""


class Agent(Protocol):
    """An agent. SHOAL_AGENT names a factory that is given the ChatModel and returns one."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Changes whenever the same prompt may be answered differently: it is part of the answer's key."""
        ...

    def run(self, turn: AgentTurn) -> AsyncGenerator[AnswerEvent, None]:
        """Streams the answer, ending with Completed; closing the iterator stops the work. Raises ShoalError."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it was loaded. `epoch` changes when it is deleted."""

    epoch: int
    messages: tuple[Message, ...]
    expires_in_seconds: float


class SessionStore(Protocol):
    """Conversations by tenant and id. All raise ShoalError STATE_UNAVAILABLE."""

    async def load(self, tenant: str, session_id: str) -> Session:
        """The session, its life renewed; without messages if there is none."""
        ...

    async def append(self, tenant: str, session_id: str, *, epoch: int, messages: Sequence[Message]) -> bool:
        """Adds messages at once, oldest first, unless the session was deleted since it had this epoch."""
        ...

    async def delete(self, tenant: str, session_id: str) -> bool:
        """Forgets the session and begins a new epoch. Whether there was anything to forget."""
        ...


@dataclass(frozen=True, slots=True)
class Preferences:
    """What is kept about a user; version 0 is nothing."""

    values: dict[str, Any]
    version: int


class PreferenceStore(Protocol):
    """Preferences by tenant and user. All raise ShoalError DATABASE_UNAVAILABLE."""

    async def get(self, tenant: str, user_id: str) -> Preferences: ...

    async def put(self, tenant: str, user_id: str, values: dict[str, Any], *, expected_version: int | None) -> int:
        """Replaces them and returns the new version. Raises ShoalError PREFERENCES_CONFLICT."""
        ...


class CachedKind(StrEnum):
    """What is kept: its policy in the cache."""

    RESPONSE = "response"
    MODEL_OUTPUT = "model_output"


@dataclass(frozen=True, slots=True)
class Lead:
    """The task to compute an answer and to hand it in. `generation` is the cache's own."""

    key: str
    kind: CachedKind
    generation: int
    refresh: bool = False
    """Whether what the answer is made of is not to be taken from the cache either: the answer that was there has been
    invalidated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long an answer is given out, from its computation on."""

    ttl_seconds: float
    """How long it is fresh."""
    stale_seconds: float = 0.0
    """How much longer it is given out while it is computed anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedAnswer:
    """A whole stored answer: the model that gave it, the level that had it ("l1" and so on) and its age."""

    model: str
    events: tuple[AnswerEvent, ...]
    level: str
    age_seconds: float
    lifetime: Lifetime
    tags: tuple[str, ...] = ()
    asked_ttl_seconds: int | None = None
    """The tags and the time to live that were asked for when it was stored; None left it to the policy."""
    renewal: Lead | None = None
    """Set if the answer is stale, and it falls to this caller to compute it anew beside using it."""

    @property
    def is_stale(self) -> bool:
        return self.age_seconds >= self.lifetime.ttl_seconds


class AnswerCache(Protocol):
    """Answers by key, within the tenant of the current call. It never fails: an outage is a miss, and what cannot be
    kept is not."""

    async def open(
        self,
        key: str,
        kind: CachedKind,
        *,
        part_of: str = "",
        tags: Sequence[str] = (),
        generation: int = 0,
        refresh: bool = False,
        only: bool = False,
    ) -> CachedAnswer | Lead | None:
        """The answer, or the task to compute it; None if the cache cannot be used.

        `tags` are those it is asked for with: one that is older than the invalidation of any of them is not found. For
        a part of another answer they are that answer's, as are the key `part_of` and, of its lead, the `generation`.
        With `refresh`, nothing is looked up. With `only`, the caller computes nothing: it is given no renewal, and a
        lead just tells that there is no answer.
        """
        ...

    async def keep(
        self,
        lead: Lead,
        *,
        model: str,
        events: Sequence[AnswerEvent],
        tags: Sequence[str] = (),
        ttl_seconds: int | None = None,
    ) -> Lifetime | None:
        """Hands the answer in. None if it was not kept."""
        ...


class Quota(Protocol):
    """What callers may use of models; the limiter keeps it. All raise ShoalError LIMITER_UNAVAILABLE."""

    async def reserve(self, reservation_id: str, *, tokens: int, ttl_seconds: float) -> None:
        """Sets model tokens of the caller's aside and takes one of its places, or neither.

        Reserving twice under the same id changes nothing. Raises ShoalError RATE_LIMITED or COST_ABOVE_CAPACITY if it
        was not made; after any other error it may have been.
        """
        ...

    async def renew(self, reservation_id: str, *, ttl_seconds: float) -> bool:
        """Makes it last that long from now on. False if there is none any more."""
        ...

    async def settle(self, reservation_id: str, *, used_tokens: int) -> None:
        """Ends it; what was used replaces what was set aside. It may come after the call's own deadline, and takes no
        longer than a cancelled call may take to clean up."""
        ...
