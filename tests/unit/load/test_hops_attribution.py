"""Where the time of a request went, by its spans."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from load.hops.attribution import is_complete, nanoseconds
from load.hops.spans import CLIENT, ENVOY, Span, parsed

REQUEST = Span("trace", "client", "", CLIENT, "REST", True, 0, 100)
FRONT = Span("trace", "front", "client", ENVOY, "ingress", False, 10, 90)
ASKING = Span("trace", "asking", "front", ENVOY, "async envoy.service.ratelimit.v3 egress", True, 12, 30)
LIMITER = Span("trace", "limiter", "asking", "ratelimit", "ShouldRateLimit", False, 15, 25)
ROUTER = Span("trace", "router", "front", ENVOY, "router gateway egress", True, 28, 85)
GATEWAY = Span("trace", "gateway", "router", "gateway", "POST /api/v1/task", False, 35, 84)
INNER = Span("trace", "inner", "gateway", ENVOY, "egress 127.0.0.1:8090", False, 40, 60)
SPANS = [GATEWAY, ROUTER, INNER, LIMITER, ASKING, FRONT]


def test_each_hop_has_the_time_in_which_it_called_nobody_else() -> None:
    assert nanoseconds(REQUEST, SPANS) == {
        "client, to Envoy and back": 20,
        "Envoy, front door": 2 + 5,
        "way to limiter and back": 8,
        "limiter": 10,
        # What two calls share belongs to the one that began first.
        "way to gateway and back": 5 + 1,
        "gateway": 5 + 24,
        "Envoy, inner listener": 20,
    }


def test_all_of_a_request_is_shared_and_nothing_of_what_runs_on_after_it() -> None:
    first_delta = Span("trace", "client", "", CLIENT, "streamed", True, 0, 50)
    shares = nanoseconds(first_delta, SPANS)
    assert sum(shares.values()) == 50
    assert shares["Envoy, inner listener"] == 10


def test_a_call_does_not_outlast_its_caller() -> None:
    left_behind = Span("trace", "inner", "gateway", ENVOY, "egress 127.0.0.1:8090", False, 80, 95)
    shares = nanoseconds(REQUEST, [FRONT, ROUTER, GATEWAY, left_behind])
    assert shares["Envoy, inner listener"] == 4
    assert sum(shares.values()) == 100


def test_a_trace_is_complete_when_every_call_and_every_parent_has_come() -> None:
    assert is_complete(REQUEST, SPANS)
    assert not is_complete(REQUEST, [])
    assert not is_complete(REQUEST, [span for span in SPANS if span != ROUTER])
    assert not is_complete(REQUEST, [span for span in SPANS if span != LIMITER])


def test_spans_are_read_as_they_are_exported() -> None:
    name = common_pb2.KeyValue(key="service.name", value=common_pb2.AnyValue(string_value="shoal-agent"))
    span = trace_pb2.Span(
        trace_id=b"\x01" * 16,
        span_id=b"\x02" * 8,
        parent_span_id=b"\x03" * 8,
        name="/Execute",
        kind=trace_pb2.Span.SPAN_KIND_SERVER,
        start_time_unix_nano=5,
        end_time_unix_nano=9,
    )
    of_scope = trace_pb2.ScopeSpans(spans=[span])
    of_agent = trace_pb2.ResourceSpans(resource=resource_pb2.Resource(attributes=[name]), scope_spans=[of_scope])
    exported = ExportTraceServiceRequest(resource_spans=[of_agent]).SerializeToString()
    assert parsed(exported) == [Span("01" * 16, "02" * 8, "03" * 8, "agent", "/Execute", False, 5, 9)]
