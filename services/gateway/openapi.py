"""The OpenAPI description of the REST API, made from the same structs that read and write its JSON."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

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
)

_SCALARS = {"string", "integer", "number", "boolean", "null"}
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
    """Its scalar fields may stand in the query."""


OPERATIONS = (
    Operation(
        method="post", path="/api/v1/task", summary="Run one turn", body=TaskBody, answer=TaskAnswer, streams=True
    ),
    Operation(
        method="get",
        path="/api/v1/task",
        summary="Run one turn that fits into a query",
        answer=TaskAnswer,
        query=TaskBody,
        streams=True,
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
    description: dict[str, Any] = {
        "summary": operation.summary,
        "responses": {
            "200": _answer(operation),
            "default": {"description": "An error", "content": _json(_schema(problem))},
        },
    }
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
    return [
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path),
        *(_query_parameters(operation.query) if operation.query else ()),
    ]


def _query_parameters(kind: type) -> Iterator[dict[str, Any]]:
    _, schemas = msgspec.json.schema_components([kind])
    schema = schemas[kind.__name__]
    for name, field in schema["properties"].items():
        options = {option.get("type") for option in field.get("anyOf", [field])}
        if options <= _SCALARS:
            yield {"name": name, "in": "query", "required": name in schema["required"], "schema": field}


def _schema(kind: type) -> dict[str, str]:
    return {"$ref": _REFERENCES.format(name=kind.__name__)}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
