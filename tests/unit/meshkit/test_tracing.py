"""W3C trace context without an OTLP endpoint: it is carried on, and nothing else happens."""

import pytest

from meshkit import tracing

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_callers_trace_is_carried_on_as_it_came() -> None:
    with tracing.server_span("test", {"traceparent": TRACEPARENT, "tracestate": "vendor=value"}):
        assert dict(tracing.current_headers()) == {"traceparent": TRACEPARENT, "tracestate": "vendor=value"}
    assert tracing.current_headers() == ()


def test_an_error_ends_the_trace_too() -> None:
    with pytest.raises(ValueError, match="broken"), tracing.server_span("test", {"traceparent": TRACEPARENT}):
        raise ValueError("broken")
    assert tracing.current_headers() == ()


@pytest.mark.parametrize(
    "headers",
    [{}, {"traceparent": ""}, {"traceparent": "garbage"}, {"traceparent": TRACEPARENT + "é", "tracestate": "\xff=,,="}],
)
def test_a_trace_that_cannot_be_read_is_none(headers: dict[str, str]) -> None:
    with tracing.server_span("test", headers):
        assert tracing.current_headers() == ()
