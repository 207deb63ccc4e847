"""Between Shoal's own JSON and the agent's proto."""

from typing import Any, Literal, cast

import msgspec
from google.protobuf import struct_pb2

from meshkit.cache_control import tags_in
from meshkit.errors import field_invalid
from meshkit.json_struct import EXACT_INTEGERS, to_struct
from services.gateway.shapes import (
    CacheReportShape,
    CacheShape,
    MessageShape,
    TaskAnswer,
    TaskBody,
    TaskFields,
    TaskQuery,
    ToolCallShape,
    ToolShape,
    UsageShape,
)
from shoal.agent.v1 import agent_pb2 as pb

_CACHE_MODES = {
    "default": pb.CACHE_MODE_DEFAULT,
    "bypass": pb.CACHE_MODE_BYPASS,
    "refresh": pb.CACHE_MODE_REFRESH,
    "only": pb.CACHE_MODE_ONLY,
}
_DEEPEST = 30
"""Levels of nesting in an object. protobuf stops at 100, and takes three for each object in an object."""
_MOST_VALUES = 20_000
"""In one object: each takes microseconds of every service on the way."""


def task_body(query: TaskQuery) -> TaskBody:
    cache = CacheShape(
        mode=query.cache_mode,
        ttl_seconds=query.cache_ttl_seconds,
        tags=tags_in(query.cache_tags),
        public=query.cache_public,
    )
    return TaskBody(**{name: getattr(query, name) for name in TaskFields.__struct_fields__}, cache=cache)


def execute_request(body: TaskBody) -> pb.ExecuteRequest:
    """Raises ShoalError for what JSON can say and the proto cannot."""
    return pb.ExecuteRequest(
        task=body.task,
        context=struct("context", body.context),
        session_id=body.session_id or "",
        user_id=body.user_id or "",
        model=body.model or "",
        sampling=pb.SamplingParameters(
            max_tokens=body.max_tokens,
            temperature=body.temperature,
            top_p=body.top_p,
            stop=body.stop,
            seed=body.seed,
        ),
        tools=[_tool(tool) for tool in body.tools],
        tool_choice=body.tool_choice or "",
        cache=cache_control(body.cache),
    )


def cache_control(cache: CacheShape) -> pb.CacheControl:
    return pb.CacheControl(
        mode=_CACHE_MODES[cache.mode], ttl_seconds=cache.ttl_seconds, tags=cache.tags, public=cache.public
    )


def struct(field: str, values: dict[str, Any]) -> struct_pb2.Struct:
    """A JSON object as a Struct. Raises ShoalError for integers that would lose digits, and for too many or too deep
    values."""
    _check(field, values)
    return to_struct(values)


def task_answer(response: pb.ExecuteResponse) -> TaskAnswer:
    return TaskAnswer(
        id=response.id,
        output=response.output,
        finish_reason=finish_reason(response.finish_reason),
        model=response.model,
        why=response.why,
        tool_calls=[tool_call(call) for call in response.tool_calls],
        cache=cache_report(response.cache),
        usage=usage(response.usage),
        session_id=response.session_id or None,
        replica=response.replica,
        created=response.created.ToNanoseconds() / 1e9,
    )


def event_data(event: pb.ExecuteStreamResponse) -> dict[str, Any]:
    """The data of one event of a stream. Heartbeats have none."""
    kind = event.WhichOneof("event")
    match kind:
        case "started":
            started = event.started
            return {
                "type": kind,
                "id": started.id,
                "stream_id": started.stream_id,
                "model": started.model,
                "why": started.why,
                "cache": cache_report(started.cache),
                "session_id": started.session_id or None,
                "replica": started.replica,
                "created": started.created.ToNanoseconds() / 1e9,
            }
        case "delta":
            return {"type": kind, "text": event.delta.text}
        case "tool_call":
            call = event.tool_call
            return {"type": kind, "id": call.id, "name": call.name, "arguments": call.arguments}
        case "tool_result":
            result = event.tool_result
            return {"type": kind, "id": result.id, "name": result.name, "content": result.content}
        case "usage":
            return {"type": kind} | msgspec.structs.asdict(usage(event.usage))
        case _:
            return {"type": "completed", "finish_reason": finish_reason(event.completed.finish_reason)}


def message(message: pb.Message) -> MessageShape:
    role = cast("Literal['system', 'user', 'assistant', 'tool']", _name(pb.Role.Name(message.role), "ROLE_"))
    return MessageShape(role, message.content, [tool_call(call) for call in message.tool_calls], message.tool_call_id)


def tool_call(call: pb.ToolCall) -> ToolCallShape:
    return ToolCallShape(call.id, call.name, call.arguments)


def usage(usage: pb.Usage) -> UsageShape:
    return UsageShape(usage.input_tokens, usage.output_tokens, usage.cost_usd, usage.from_cache)


def cache_report(report: pb.CacheReport) -> CacheReportShape:
    status = cast("Literal['hit', 'miss', 'bypass']", _name(pb.CacheStatus.Name(report.status), "CACHE_STATUS_"))
    is_hit = report.status == pb.CACHE_STATUS_HIT
    return CacheReportShape(
        status=status,
        level=report.level or None,
        age_seconds=report.age_seconds if is_hit else None,
        key=report.key or None,
        ttl_seconds=report.ttl_seconds or None,
        stale_seconds=report.stale_seconds if report.ttl_seconds else None,
        stale=report.stale,
    )


def finish_reason(reason: pb.FinishReason.ValueType) -> Literal["stop", "length", "tool_calls", "content_filter"]:
    return cast(
        "Literal['stop', 'length', 'tool_calls', 'content_filter']",
        _name(pb.FinishReason.Name(reason), "FINISH_REASON_"),
    )


def _tool(tool: ToolShape) -> pb.Tool:
    return pb.Tool(
        name=tool.name,
        description=tool.description,
        parameters=struct("tools", tool.parameters),
        has_side_effects=tool.has_side_effects,
    )


def _check(field: str, values: dict[str, Any]) -> None:
    pending: list[tuple[Any, int]] = [(values, 1)]
    seen = 0
    while pending:
        value, level = pending.pop()
        if isinstance(value, int) and abs(value) > EXACT_INTEGERS:
            raise field_invalid(field, "hold no integers beyond 2^53, which would lose digits; send them as strings")
        if not isinstance(value, dict | list):
            continue
        seen += len(value)
        if seen > _MOST_VALUES:
            raise field_invalid(field, f"hold at most {_MOST_VALUES:,} values")
        if level > _DEEPEST:
            raise field_invalid(field, f"be nested at most {_DEEPEST} levels deep")
        pending += [(item, level + 1) for item in (value.values() if isinstance(value, dict) else value)]


def _name(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
