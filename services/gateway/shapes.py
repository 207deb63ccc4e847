"""The JSON of Shoal's own REST API, in and out."""

from typing import Annotated, Any, Literal

import msgspec

from meshkit.cache_control import MAX_TAGS, MAX_TTL_SECONDS, TAG_PATTERN

Meta = msgspec.Meta

CacheMode = Literal["default", "bypass", "refresh", "only"]
CacheModeField = Annotated[
    CacheMode,
    Meta(
        description="`bypass` neither looks up nor stores; `refresh` stores without looking up; "
        "`only` looks up, and is refused with NOT_CACHED if nothing is found."
    ),
]
CacheSecondsField = Annotated[
    int,
    Meta(
        ge=1,
        le=MAX_TTL_SECONDS,
        description="How long the answer of this turn may be given out again; else as configured.",
    ),
]
CachePublicField = Annotated[
    bool,
    Meta(description="Whether caches in front of Shoal may share the answer. Who may see it here stays the same."),
]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request's body: a field that is not known is refused, not ignored."""


class ToolShape(Body, frozen=True, kw_only=True):
    """A function of the caller's that the model may ask for. Shoal never runs it."""

    name: Annotated[str, Meta(description="1 to 64 of A-Z a-z 0-9 _ -")]
    description: str = ""
    parameters: Annotated[dict[str, Any], Meta(description="A JSON schema.")] = {}
    has_side_effects: Annotated[
        bool, Meta(description="Whether running it changes something outside; such a turn is not cached.")
    ] = False


class CacheShape(Body, frozen=True, kw_only=True):
    """How the cache may be used."""

    mode: CacheModeField = "default"
    ttl_seconds: CacheSecondsField | None = None
    tags: Annotated[
        list[Annotated[str, Meta(pattern=f"^{TAG_PATTERN}$")]],
        Meta(max_length=MAX_TAGS, description="Names by which the answer can be invalidated with others."),
    ] = []
    public: CachePublicField = False


class TaskFields(Body, frozen=True, kw_only=True):
    """What a query can say of a turn, too."""

    task: Annotated[str, Meta(description="What the agent shall do; at most 256 KiB.")]
    session_id: Annotated[
        str | None, Meta(description="The session to continue; `new` begins one with an id made by the server.")
    ] = None
    user_id: Annotated[str | None, Meta(description="The user whose preferences apply.")] = None
    stream: Annotated[bool, Meta(description="Answer as server-sent events.")] = False
    model: Annotated[str | None, Meta(description="One of /v1/models; by default the first.")] = None
    max_tokens: Annotated[int, Meta(ge=1, le=2**32 - 1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: float | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    tool_choice: Annotated[str | None, Meta(description="auto, none, required or the name of a tool.")] = None


class TaskBody(TaskFields, frozen=True, kw_only=True):
    """One turn to run."""

    context: Annotated[dict[str, Any], Meta(description="Facts that the task refers to.")] = {}
    stop: Annotated[list[str], Meta(description="Up to four strings that end the answer.")] = []
    tools: list[ToolShape] = []
    cache: CacheShape = CacheShape()


class TaskQuery(TaskFields, frozen=True, kw_only=True):
    """One turn to run, as a query says it: the fields of `cache` by their dotted names."""

    cache_mode: CacheModeField = msgspec.field(default="default", name="cache.mode")
    cache_ttl_seconds: CacheSecondsField | None = msgspec.field(default=None, name="cache.ttl_seconds")
    cache_tags: Annotated[
        str, Meta(description="Names by which the answer can be invalidated with others, separated by commas.")
    ] = msgspec.field(default="", name="cache.tags")
    cache_public: CachePublicField = msgspec.field(default=False, name="cache.public")


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
    """Where the answer came from. `level` and `age_seconds` are null unless it was a hit."""

    status: Literal["hit", "miss", "bypass"]
    level: str | None
    age_seconds: float | None
    key: Annotated[str | None, Meta(description="By it the answer can be invalidated; null if the cache was bypassed.")]
    ttl_seconds: Annotated[
        float | None,
        Meta(description="How long it is fresh, from its computation on; null if it is not kept, or not known yet."),
    ]
    stale_seconds: Annotated[
        float | None,
        Meta(description="How much longer it is given out while it is computed anew; null as ttl_seconds is."),
    ]
    stale: Annotated[bool, Meta(description="Whether it is older than ttl_seconds, and being computed anew.")]


class UsageShape(msgspec.Struct, frozen=True):
    """What the turn took; for a cached answer, what it took when it was computed."""

    input_tokens: int
    output_tokens: int
    cost_usd: Annotated[float, Meta(description="0 for a model without a price. With `from_cache`, what it cost then.")]
    from_cache: Annotated[
        bool,
        Meta(
            description="The model was not asked: its output was still kept. This is what it took when it was. "
            "False for a cached answer, of which `cache` says where it came from."
        ),
    ]


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
