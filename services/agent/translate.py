"""Between the protos and the nouns of the core."""

from collections.abc import Iterable, Iterator, Sequence

from google.protobuf import timestamp_pb2

from meshkit.errors import field_invalid
from meshkit.json_struct import from_struct
from services.agent.conversation import (
    AnswerEvent,
    Completed,
    Delta,
    FinishReason,
    Message,
    Role,
    Sampling,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from services.agent.report import CacheReport, CacheStatus, Started
from services.agent.request import CacheControl, CacheMode, TurnRequest
from shoal.agent.v1 import agent_pb2 as pb

_ROLES = {
    pb.ROLE_SYSTEM: Role.SYSTEM,
    pb.ROLE_USER: Role.USER,
    pb.ROLE_ASSISTANT: Role.ASSISTANT,
    pb.ROLE_TOOL: Role.TOOL,
}
_ROLES_OUT = {role: number for number, role in _ROLES.items()}
_CACHE_MODES = {
    pb.CACHE_MODE_UNSPECIFIED: CacheMode.DEFAULT,
    pb.CACHE_MODE_DEFAULT: CacheMode.DEFAULT,
    pb.CACHE_MODE_BYPASS: CacheMode.BYPASS,
    pb.CACHE_MODE_REFRESH: CacheMode.REFRESH,
    pb.CACHE_MODE_ONLY: CacheMode.ONLY,
}
_CACHE_STATUSES = {
    CacheStatus.HIT: pb.CACHE_STATUS_HIT,
    CacheStatus.MISS: pb.CACHE_STATUS_MISS,
    CacheStatus.BYPASS: pb.CACHE_STATUS_BYPASS,
}
_FINISH_REASONS = {
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: pb.FINISH_REASON_TOOL_CALLS,
    FinishReason.CONTENT_FILTER: pb.FINISH_REASON_CONTENT_FILTER,
}


def turn_request(request: pb.ExecuteRequest) -> TurnRequest:
    """Raises ShoalError for enum values that this version does not know, and numbers that JSON does not know."""
    return TurnRequest(
        task=request.task,
        context=from_struct(request.context, field="context"),
        session_id=request.session_id,
        user_id=request.user_id,
        model=request.model,
        sampling=_sampling(request.sampling),
        tools=tuple(_tool(tool) for tool in request.tools),
        tool_choice=request.tool_choice,
        cache=_cache_control(request.cache),
        history=tuple(_message(message) for message in request.history),
    )


def message_out(message: Message) -> pb.Message:
    return pb.Message(
        role=_ROLES_OUT[message.role],
        content=message.content,
        tool_calls=[tool_call_out(call) for call in message.tool_calls],
        tool_call_id=message.tool_call_id,
    )


def started_out(event: Started, *, replica: str) -> pb.Started:
    return pb.Started(
        id=event.id,
        stream_id=event.stream_id,
        model=event.model,
        why=event.why,
        cache=cache_report(event.cache),
        session_id=event.session_id,
        replica=replica,
        created=timestamp(event.created),
    )


def cache_report(report: CacheReport) -> pb.CacheReport:
    sent = pb.CacheReport(
        status=_CACHE_STATUSES[report.status],
        level=report.level,
        age_seconds=report.age_seconds,
        key=report.key,
        stale=report.is_stale,
        public=report.public,
    )
    if report.lifetime is not None:
        sent.ttl_seconds = report.lifetime.ttl_seconds
        sent.stale_seconds = report.lifetime.stale_seconds
    return sent


def tool_call_out(call: ToolCall) -> pb.ToolCall:
    return pb.ToolCall(id=call.id, name=call.name, arguments=call.arguments)


def tool_result_out(result: ToolResult) -> pb.ToolResult:
    return pb.ToolResult(
        id=result.id, name=result.name, content=result.content, has_side_effects=result.has_side_effects
    )


def usage_out(usage: Usage) -> pb.Usage:
    return pb.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=usage.cost_usd,
        from_cache=usage.from_cache,
    )


def stream_response(event: Started | AnswerEvent, *, sequence: int, replica: str) -> pb.ExecuteStreamResponse:
    response = pb.ExecuteStreamResponse(sequence=sequence)
    match event:
        case Started():
            response.started.CopyFrom(started_out(event, replica=replica))
        case Delta():
            response.delta.text = event.text
        case ToolCall():
            response.tool_call.CopyFrom(tool_call_out(event))
        case ToolResult():
            response.tool_result.CopyFrom(tool_result_out(event))
        case Usage():
            response.usage.CopyFrom(usage_out(event))
        case Completed():
            response.completed.finish_reason = _FINISH_REASONS[event.finish_reason]
    return response


def in_groups(messages: Iterable[pb.ExecuteStreamResponse], *, max_bytes: int) -> Iterator[pb.ExecuteStreamResponse]:
    """The same events in as few messages as hold them, none of more than `max_bytes` unless it is a single event."""
    group: list[pb.ExecuteStreamResponse] = []
    size = 0
    for message in messages:
        size += message.ByteSize()
        if group and size > max_bytes:
            yield _group(group)
            group, size = [], message.ByteSize()
        group.append(message)
    if group:
        yield _group(group)


def _group(messages: Sequence[pb.ExecuteStreamResponse]) -> pb.ExecuteStreamResponse:
    if len(messages) == 1:
        return messages[0]
    return pb.ExecuteStreamResponse(sequence=messages[-1].sequence, group=pb.EventGroup(events=messages))


def execute_response(
    started: Started, events: Sequence[AnswerEvent], *, cache: CacheReport, replica: str
) -> pb.ExecuteResponse:
    """A whole turn in one message. `cache` is how the cache was used, as it is known at the end."""
    response = pb.ExecuteResponse(
        id=started.id,
        output="".join(event.text for event in events if isinstance(event, Delta)),
        model=started.model,
        why=started.why,
        tool_calls=[tool_call_out(event) for event in events if isinstance(event, ToolCall)],
        cache=cache_report(cache),
        session_id=started.session_id,
        replica=replica,
        created=timestamp(started.created),
    )
    for event in events:
        if isinstance(event, Usage):
            response.usage.CopyFrom(usage_out(event))
        elif isinstance(event, Completed):
            response.finish_reason = _FINISH_REASONS[event.finish_reason]
    return response


def timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    whole, microseconds = divmod(round(seconds * 1_000_000), 1_000_000)  # floats of today tell no smaller parts apart
    return timestamp_pb2.Timestamp(seconds=whole, nanos=microseconds * 1000)


def _tool(tool: pb.Tool) -> Tool:
    parameters = from_struct(tool.parameters, field="tools")
    return Tool(tool.name, tool.description, parameters, has_side_effects=tool.has_side_effects)


def _cache_control(cache: pb.CacheControl) -> CacheControl:
    if cache.mode not in _CACHE_MODES:
        raise field_invalid("cache.mode", "be default, bypass, refresh or only")
    return CacheControl(
        mode=_CACHE_MODES[cache.mode],
        ttl_seconds=cache.ttl_seconds if cache.HasField("ttl_seconds") else None,
        tags=tuple(dict.fromkeys(cache.tags)),
        public=cache.public,
    )


def _message(message: pb.Message) -> Message:
    if message.role not in _ROLES:
        raise field_invalid("history", "give the role of every message")
    calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in message.tool_calls)
    return Message(_ROLES[message.role], message.content, calls, message.tool_call_id)


def _sampling(sampling: pb.SamplingParameters) -> Sampling:
    return Sampling(
        max_tokens=sampling.max_tokens if sampling.HasField("max_tokens") else None,
        temperature=sampling.temperature if sampling.HasField("temperature") else None,
        top_p=sampling.top_p if sampling.HasField("top_p") else None,
        stop=tuple(sampling.stop),
        seed=sampling.seed if sampling.HasField("seed") else None,
    )
