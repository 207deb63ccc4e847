"""The simulated model without latency, with a span for each answer until it begins.

Usage: python -m load.hops.traced_model PORT [ENDPOINT]

Without an endpoint (OTLP over HTTP) it is the same model, and has no spans.
"""

import sys
from random import Random

from aiohttp import web
from aiohttp.typedefs import Handler
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from load.simulated_model.distributions import parse_distribution
from load.simulated_model.faults import FaultRates
from load.simulated_model.plan import Profile
from load.simulated_model.server import SimulatedModel
from meshkit.tracing import export_spans

SERVICE = "model"
TOKENS = 20
"""Of an answer."""
_SPAN = "span"
_PROPAGATOR = TraceContextTextMapPropagator()


def application() -> web.Application:
    profile = Profile(parse_distribution("fixed:0"), None, TOKENS, FaultRates())
    model = SimulatedModel(profile=profile, models=("simulated",), slots=None, random=Random(0)).application()
    model.middlewares.append(_begin)
    model.on_response_prepare.append(_end)
    return model


@web.middleware
async def _begin(request: web.Request, handler: Handler) -> web.StreamResponse:
    context = _PROPAGATOR.extract(request.headers)
    request[_SPAN] = trace.get_tracer("load").start_span(request.path, context, kind=trace.SpanKind.SERVER)
    return await handler(request)


async def _end(request: web.Request, _: web.StreamResponse) -> None:
    request[_SPAN].end()


def main(port: int, endpoint: str) -> None:
    """Serves until SIGTERM or SIGINT."""
    flush = export_spans(endpoint, service=SERVICE, replica=SERVICE) if endpoint else None
    web.run_app(application(), host="127.0.0.1", port=port, access_log=None, print=None)
    if flush:
        flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), "".join(sys.argv[2:]))
