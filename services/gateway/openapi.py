"""The OpenAPI description of the REST API, made from the same structs that read and write its JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from services.gateway import cache_directives
from services.gateway.openai_shapes import ChatCompletionBody
from services.gateway.problems import OPENAI_PREFIX
from services.gateway.shapes import (
    Health,
    OpenAIProblem,
    PreferencesAnswer,
    PreferencesBody,
    Problem,
    SessionAnswer,
    SessionDeleted,
    TaskAnswer,
    TaskBody,
    TaskQuery,
)

_REFERENCES = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    summary: str
    body: type | None = None
    answer: type | None = None
    streams: bool = False
    public: bool = False
    query: type | None = None
    """Its fields may stand in the query."""
    description: str = ""
    cached: bool = False
    """Whether the headers about the cache are heeded, and those are answered that tell how it was used."""
    conditional: bool = False
    """Whether the answer may be kept by caches on the way, and asked for again with If-None-Match."""


_CACHE_REQUEST_HEADERS = {
    "Cache-Control": "`no-store` is the mode `bypass`, `no-cache` and `max-age=0` are `refresh`, `only-if-cached` is "
    "`only`: then an answer that is not cached is 504, NOT_CACHED. `bypass` wins over every other mode, whether named "
    "here or in the request, and any mode over `default`; `refresh` and `only` at once are refused.",
    "Pragma": "`no-cache` is the mode `refresh`, if there is no Cache-Control.",
    cache_directives.TAGS_HEADER: "More names, separated by commas, by which the answer can be invalidated.",
}
_CONDITION = {"If-None-Match": "ETags that the caller holds: if the answer has one of them, it is 304 and not sent."}
_REPORT_HEADERS = {
    "X-Shoal-Cache": "How the cache was used: `miss`, `bypass`, or `hit` with its level, and `stale` if it is: "
    "`hit; level=l2; stale`.",
    "X-Shoal-Cache-Key": "The answer's key, by which it can be invalidated; not there if the cache was bypassed.",
}
_CACHING_HEADERS = {
    "ETag": "Weak, and of what the answer says: its output, finish_reason, model, tool_calls and usage.",
    "Cache-Control": "How long the answer may be kept, from its computation on: by the caller alone (`private`), or by "
    "shared caches too (`public`) if `cache.public` was asked for. With a user_id it must be asked for again each time "
    "(`private, no-cache`). In a session, or if the answer is not cached here: `no-store`, and none of the others.",
    "Age": "Seconds since the answer was computed.",
    "Vary": "The request headers that the answer depends on.",
}

OPERATIONS = (
    Operation(
        method="post",
        path="/api/v1/task",
        summary="Run one turn",
        body=TaskBody,
        answer=TaskAnswer,
        streams=True,
        cached=True,
    ),
    Operation(
        method="get",
        path="/api/v1/task",
        summary="Run one turn that fits into a query",
        answer=TaskAnswer,
        query=TaskQuery,
        streams=True,
        cached=True,
        conditional=True,
        description="HEAD runs the turn as GET does and answers with the same headers. It costs what GET "
        "costs, and the GET that follows finds in the cache what it computed, if that can be cached.",
    ),
    Operation(method="get", path="/api/v1/sessions/{session_id}", summary="Read a session", answer=SessionAnswer),
    Operation(method="delete", path="/api/v1/sessions/{session_id}", summary="Forget a session", answer=SessionDeleted),
    Operation(
        method="get",
        path="/api/v1/users/{user_id}/preferences",
        summary="Read a user's preferences",
        answer=PreferencesAnswer,
    ),
    Operation(
        method="put",
        path="/api/v1/users/{user_id}/preferences",
        summary="Replace a user's preferences",
        body=PreferencesBody,
        answer=PreferencesAnswer,
    ),
    Operation(
        method="post",
        path="/v1/chat/completions",
        summary="OpenAI's chat completions",
        body=ChatCompletionBody,
        streams=True,
        cached=True,
    ),
    Operation(method="get", path="/v1/models", summary="OpenAI's list of models"),
    Operation(method="get", path="/v1/models/{model}", summary="One of them"),
    Operation(method="get", path="/health", summary="Is the gateway alive?", answer=Health, public=True),
    Operation(method="get", path="/health/ready", summary="Can an agent be reached?", answer=Health, public=True),
)


def document() -> dict[str, Any]:
    """The description as OpenAPI 3.1."""
    kinds = {kind for operation in OPERATIONS for kind in (operation.body, operation.answer) if kind is not None}
    ordered = sorted({*kinds, Problem, OpenAIProblem}, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REFERENCES)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Shoal", "version": "1", "description": "AI agents in production, behind one front door."},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        # The empty one: without a key you are anonymous, which is allowed unless the operator says otherwise.
        "security": [{"apiKey": []}, {"bearer": []}, {}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    problem = OpenAIProblem if operation.path.startswith(OPENAI_PREFIX) else Problem
    responses: dict[str, Any] = {"200": _answer(operation)}
    told = (_REPORT_HEADERS if operation.cached else {}) | (_CACHING_HEADERS if operation.conditional else {})
    if told:
        responses["200"]["headers"] = _headers(told)
    if operation.conditional:
        responses["304"] = {"description": "The caller has the answer", "headers": _headers(told)}
    responses["default"] = {"description": "An error", "content": _json(_schema(problem))}
    description: dict[str, Any] = {"summary": operation.summary, "responses": responses}
    if operation.description:
        description["description"] = operation.description
    if operation.body is not None:
        description["requestBody"] = {"required": True, "content": _json(_schema(operation.body))}
    if parameters := _parameters(operation):
        description["parameters"] = parameters
    if operation.public:
        description["security"] = []
    return description


def _answer(operation: Operation) -> dict[str, Any]:
    schema = {"type": "object"} if operation.answer is None else _schema(operation.answer)
    content = _json(schema)
    if operation.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {"description": "The answer", "content": content}


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    in_path = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    headers = (_CACHE_REQUEST_HEADERS if operation.cached else {}) | (_CONDITION if operation.conditional else {})
    return [
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path),
        *(_query_parameters(operation.query) if operation.query else ()),
        *({"name": name, "in": "header"} | header for name, header in _headers(headers).items()),
    ]


def _query_parameters(kind: type) -> Iterator[dict[str, Any]]:
    _, schemas = msgspec.json.schema_components([kind])
    schema = schemas[kind.__name__]
    for name, field in schema["properties"].items():
        yield {"name": name, "in": "query", "required": name in schema["required"], "schema": field}


def _headers(descriptions: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in descriptions.items()}


def _schema(kind: type) -> dict[str, str]:
    return {"$ref": _REFERENCES.format(name=kind.__name__)}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
