"""The JSON of Shoal's own REST API, in and out."""

from typing import Annotated, Any, Literal

import msgspec

Meta = msgspec.Meta


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request's body: a field that is not known is refused, not ignored."""


class ToolShape(Body, frozen=True, kw_only=True):
    """A function of the caller's that the model may ask for. Shoal never runs it."""

    name: Annotated[str, Meta(description="1 to 64 of A-Z a-z 0-9 _ -")]
    description: str = ""
    parameters: Annotated[dict[str, Any], Meta(description="A JSON schema.")] = {}


class CacheShape(Body, frozen=True, kw_only=True):
    """How the cache may be used."""

    mode: Annotated[Literal["default", "bypass"], Meta(description="`bypass` neither looks up nor stores.")] = "default"


class TaskBody(Body, frozen=True, kw_only=True):
    """One turn to run."""

    task: Annotated[str, Meta(description="What the agent shall do; at most 256 KiB.")]
    context: Annotated[dict[str, Any], Meta(description="Facts that the task refers to.")] = {}
    session_id: Annotated[
        str | None, Meta(description="The session to continue; `new` begins one with an id made by the server.")
    ] = None
    user_id: Annotated[str | None, Meta(description="The user whose preferences apply.")] = None
    stream: Annotated[bool, Meta(description="Answer as server-sent events.")] = False
    model: Annotated[str | None, Meta(description="One of /v1/models; by default the first.")] = None
    max_tokens: Annotated[int, Meta(ge=1, le=2**32 - 1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: float | None = None
    stop: Annotated[list[str], Meta(description="Up to four strings that end the answer.")] = []
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    tools: list[ToolShape] = []
    tool_choice: Annotated[str | None, Meta(description="auto, none, required or the name of a tool.")] = None
    cache: CacheShape = CacheShape()


class PreferencesBody(Body, frozen=True, kw_only=True):
    """A user's preferences, whole."""

    preferences: dict[str, Any]
    expected_version: (
        Annotated[
            int,
            Meta(ge=0, le=2**63 - 1, description="Only if the kept version is this one; 0 if there shall be none."),
        ]
        | None
    ) = None


class ToolCallShape(msgspec.Struct, frozen=True):
    """A tool that the caller is asked to run; `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


class CacheReportShape(msgspec.Struct, frozen=True):
    """Where the answer came from."""

    status: Literal["hit", "miss", "bypass"]
    level: str | None
    age_seconds: float | None


class UsageShape(msgspec.Struct, frozen=True):
    """What the turn took; for a cached answer, what it took when it was computed."""

    input_tokens: int
    output_tokens: int
    cost_usd: float


class TaskAnswer(msgspec.Struct, frozen=True):
    """A completed turn. `created` is Unix time in seconds."""

    id: str
    output: str
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]
    model: str
    why: str
    tool_calls: list[ToolCallShape]
    cache: CacheReportShape
    usage: UsageShape
    session_id: str | None
    replica: str
    created: float


class MessageShape(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a session."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: list[ToolCallShape] = []
    tool_call_id: str = ""


class SessionAnswer(msgspec.Struct, frozen=True):
    """A session, oldest message first. `expires` is Unix time in seconds."""

    session_id: str
    messages: list[MessageShape]
    expires: float


class SessionDeleted(msgspec.Struct, frozen=True):
    """Whether there was a session to delete."""

    session_id: str
    existed: bool


class PreferencesAnswer(msgspec.Struct, frozen=True):
    """A user's preferences; version 0 if nothing was ever put."""

    user_id: str
    preferences: dict[str, Any]
    version: int


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Every error of the REST API."""

    error: Annotated[str, Meta(description="A sentence for a person.")]
    code: Annotated[str, Meta(description="The gRPC status code.")]
    reason: Annotated[str, Meta(description="Why, for programs.")]
    field: Annotated[str, Meta(description="The field at fault; empty if none is.")]
    request_id: str
    retry_after_seconds: float | msgspec.UnsetType = msgspec.UNSET


class OpenAIError(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, in OpenAI's words; `retry_after_seconds` is ours, and there if it is known."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    code: Annotated[str, Meta(description="The reason of our own errors, in lower case.")]
    retry_after_seconds: float | msgspec.UnsetType = msgspec.UNSET


class OpenAIProblem(msgspec.Struct, frozen=True):
    """Every error under /v1/."""

    error: OpenAIError


class Health(msgspec.Struct, frozen=True):
    """What a health check says."""

    status: Literal["alive", "draining", "ready", "not ready"]
