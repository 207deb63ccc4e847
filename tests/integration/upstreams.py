"""What is behind Envoy in its tests: a scripted limiter, and agents and a gateway that say what they got."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
from aiohttp import web
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from envoyconf.topology import LOOPBACK
from meshkit.mesh_tls import MeshTls
from services.ratelimit import envoy_method, envoy_request
from services.ratelimit.questions.connection import Headers, Terms
from services.ratelimit.questions.framing import CallError
from services.ratelimit.questions.server import listening
from shoal.external import rls_pb2

LIMITED_KEY = "sk-shoal-limited"
BROKEN_KEY = "sk-shoal-the-limiter-breaks-on-this"
HANGING_KEY = "sk-shoal-the-limiter-hangs-on-this"
REFUSE = ("x-status", "UNAVAILABLE")
"""Metadata that makes every agent refuse a call as one that drains does."""
REFUSAL = "Wait 0.7 s, then try again."
HOLD = ("x-hold", "yes")
"""Metadata for a call that is answered by a stream, which goes on until the agent is released."""
OK = rls_pb2.RateLimitResponse.OK
OVER_LIMIT = rls_pb2.RateLimitResponse.OVER_LIMIT
Pairs = list[tuple[str, str]]


@dataclass
class ScriptedLimiter:
    """Lets everybody pass as `signed-identity`, but for a few keys; remembers what it was asked."""

    asked: list[Pairs] = field(default_factory=list)

    async def answer(self, request: rls_pb2.RateLimitRequest) -> rls_pb2.RateLimitResponse:
        (descriptor,) = request.descriptors
        # Bytes that are no UTF-8 read as \\xff.
        self.asked.append([(entry.key, entry.value.decode(errors="backslashreplace")) for entry in descriptor.entries])
        entries = dict(self.asked[-1])
        match entries.get("x_api_key"):
            case key if key == LIMITED_KEY:
                return refusal(entries["surface"])
            case key if key == BROKEN_KEY:
                raise CallError(code_pb2.INTERNAL, "broken")
            case key if key == HANGING_KEY:
                await asyncio.Event().wait()
        return answer(OK, request={"x-shoal-identity": "signed-identity"}, response={"ratelimit": '"free";r=9;t=1'})


def answer(
    code: "rls_pb2.RateLimitResponse.Code.ValueType",
    *,
    request: dict[str, str],
    response: dict[str, str],
    body: str = "",
) -> rls_pb2.RateLimitResponse:
    """An answer about one descriptor, with headers to add to the request or the response."""
    return rls_pb2.RateLimitResponse(
        overall_code=code,
        statuses=[rls_pb2.RateLimitResponse.DescriptorStatus(code=code)],
        request_headers_to_add=[rls_pb2.HeaderValue(key=key, value=value) for key, value in request.items()],
        response_headers_to_add=[rls_pb2.HeaderValue(key=key, value=value) for key, value in response.items()],
        raw_body=body.encode(),
    )


def refusal(surface: str) -> rls_pb2.RateLimitResponse:
    """What the limiter answers over the limit: the body and the headers in the form of the surface."""
    if surface == "grpc":
        headers = {"retry-after": "1", "grpc-retry-pushback-ms": "700", "grpc-status-details-bin": retry_details()}
        return answer(OVER_LIMIT, request={}, response=headers, body=REFUSAL)
    headers = {"retry-after": "1", "content-type": "application/json"}
    return answer(OVER_LIMIT, request={}, response=headers, body=json.dumps({surface: REFUSAL}))


def retry_details() -> str:
    """A google.rpc.Status as a header: code and message must equal those of the call."""
    status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message=REFUSAL)
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=700_000_000)))
    return base64.b64encode(status.SerializeToString()).decode().rstrip("=")


class Healthy(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # the package has no types
    """Every service that is asked for is serving."""

    async def Check(  # noqa: N802 - the protocol's name
        self, request: health_pb2.HealthCheckRequest, context: object
    ) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


@dataclass
class EchoAgent(grpc.GenericRpcHandler):
    """Answers each call with the metadata that arrived, as JSON, or with the status that it is asked for.

    Refuses all calls when it drains. A stream says at once who serves it.
    """

    name: str
    arrived: Pairs
    """The agent and the method of each call, in their order."""
    draining: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        if not details.method.startswith("/shoal.agent.v1."):
            return None
        self.arrived.append((self.name, details.method))
        if HOLD in (details.invocation_metadata or ()):
            return grpc.unary_stream_rpc_method_handler(self.stream)
        return grpc.unary_unary_rpc_method_handler(self.echo)

    async def echo(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        metadata = [(key, str(value)) for key, value in context.invocation_metadata() or ()]
        asked = dict(metadata).get("x-status", "UNAVAILABLE" if self.draining else "OK")
        if asked != "OK":
            await context.abort(grpc.StatusCode[asked], "as asked")
        await context.send_initial_metadata((("x-shoal-replica", self.name),))
        return json.dumps(metadata).encode()

    async def stream(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        await context.send_initial_metadata((("x-shoal-replica", self.name), ("x-shoal-cache", "miss")))
        yield self.name.encode()
        await self.released.wait()
        yield b"released"


async def echo_request(request: web.Request) -> web.StreamResponse:
    """The gateway: the path and the headers that arrived, as JSON. Below /broken it hangs up, below /held it waits."""
    if "held" in request.path:
        await request.read()
        await asyncio.Event().wait()
    if "broken" in request.path and request.transport is not None:
        request.transport.close()
    return web.json_response({"path": request.path_qs, "headers": list(request.headers.items())})


@asynccontextmanager
async def grpc_server(port: int, mesh: MeshTls | None = None) -> AsyncIterator[grpc.aio.Server]:
    """A gRPC server that is healthy by every name; with `mesh` one that takes only calls from there."""
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Healthy(), server)
    if mesh is None:
        server.add_insecure_port(f"{LOOPBACK}:{port}")
    else:
        key, certificate, authority = pems(mesh)
        credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
        server.add_secure_port(f"{LOOPBACK}:{port}", credentials)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace=None)


Answers = Callable[[rls_pb2.RateLimitRequest], Awaitable[rls_pb2.RateLimitResponse]]


@asynccontextmanager
async def limiter_server(port: int, answers: Answers, mesh: MeshTls | None = None) -> AsyncIterator[None]:
    """A limiter as Envoy asks it, always healthy; with `mesh` one that takes only calls from there."""

    async def should_rate_limit(message: bytes, headers: Headers) -> bytes:
        return (await answers(rls_pb2.RateLimitRequest.FromString(message))).SerializeToString()

    terms = Terms({envoy_method.PATH: should_rate_limit}, envoy_request.MAX_BYTES, is_serving=lambda: True)
    async with listening(terms, port=port, tls=mesh.server_context() if mesh else None):
        yield


@asynccontextmanager
async def echo_gateway(port: int, mesh: MeshTls | None = None) -> AsyncIterator[None]:
    """The gateway's stand-in, from listening to closed; with `mesh` one that takes only requests from there."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", echo_request)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port, ssl_context=mesh.server_context() if mesh else None).start()
        yield
    finally:
        await runner.cleanup()


def pems(mesh: MeshTls) -> tuple[bytes, bytes, bytes]:
    """Key, certificate and authority."""
    return Path(mesh.key_file).read_bytes(), Path(mesh.cert_file).read_bytes(), Path(mesh.ca_file).read_bytes()
