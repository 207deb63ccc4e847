"""Spans, as far as it takes to say where the time of a request went."""

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

CLIENT = "client"
"""What the one who asks is called, as a service."""
ENVOY = "envoy"


class Span(msgspec.Struct, frozen=True):
    """Times are nanoseconds since 1970, by the clock that all processes of the machine share."""

    trace_id: str
    id: str
    parent_id: str
    """Empty at the root."""
    service: str
    name: str
    is_call: bool
    """Whether it is a call to somebody else, and not what somebody does when called."""
    begin: int
    end: int


def parsed(exported: bytes) -> list[Span]:
    """Out of a request to an OTLP collector. Raises DecodeError if it is none."""
    return [
        _span(span, service)
        for resource in ExportTraceServiceRequest.FromString(exported).resource_spans
        for service in [_service(resource)]
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _service(resource: trace_pb2.ResourceSpans) -> str:
    """Without the name of the mesh."""
    names = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
    return "".join(names).removeprefix("shoal-")


def _span(span: trace_pb2.Span, service: str) -> Span:
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        service,
        span.name,
        span.kind == trace_pb2.Span.SPAN_KIND_CLIENT,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    )
