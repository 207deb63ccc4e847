"""What is behind Envoy in its tests: a scripted limiter, and agents and a gateway that say what they got."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from aiohttp import web
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from envoyconf.topology import LOOPBACK
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Methods, Terms
from meshkit.mesh_tls import MeshTls
from meshkit.serve import MAX_MESSAGE_BYTES, new_server
from shoal.external import rls_pb2, rls_pb2_grpc

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
Context = grpc.aio.ServicerContext[Any, Any]
HEALTH_API = "/grpc.health.v1.Health/"
SERVING = b"\x08\x01"
"""A HealthCheckResponse that says so."""


@dataclass
class ScriptedLimiter(rls_pb2_grpc.RateLimitServiceServicer):
    """Lets everybody pass under one identity, but for a few keys; remembers what it was asked."""

    asked: list[Pairs] = field(default_factory=list)
    identity: str = "signed-identity"

    async def ShouldRateLimit(  # noqa: N802 - the protocol's name
        self, request: rls_pb2.RateLimitRequest, context: Context
    ) -> rls_pb2.RateLimitResponse:
        (descriptor,) = request.descriptors
        # Bytes that are no UTF-8 read as \\xff.
        self.asked.append([(entry.key, entry.value.decode(errors="backslashreplace")) for entry in descriptor.entries])
        entries = dict(self.asked[-1])
        match entries.get("x_api_key"):
            case key if key == LIMITED_KEY:
                return refusal(entries["surface"])
            case key if key == BROKEN_KEY:
                await context.abort(grpc.StatusCode.INTERNAL, "broken")
            case key if key == HANGING_KEY:
                await asyncio.Event().wait()
        return answer(OK, request={"x-shoal-identity": self.identity}, response={"ratelimit": '"free";r=9;t=1'})


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


@dataclass
class EchoAgent:
    """Answers each call with the metadata that arrived, as JSON, or with the status that it is asked for.

    Refuses all calls when it drains. A stream says at once who serves it.
    """

    name: str
    arrived: Pairs
    """The agent and the method of each call, in their order."""
    draining: bool = False
    most_bytes: int = MAX_MESSAGE_BYTES
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def find(self, method: str) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        if method.startswith(HEALTH_API):
            return grpc.unary_unary_rpc_method_handler(serving, response_serializer=bytes)
        if not method.startswith("/shoal.agent.v1."):
            return None
        return grpc.unary_stream_rpc_method_handler(partial(self.serve, method), response_serializer=bytes)

    async def serve(self, method: str, request: bytes, context: Context) -> None:
        """A stream of one message is what a single answer is to its caller."""
        self.arrived.append((self.name, method))
        metadata = [(key, str(value)) for key, value in context.invocation_metadata() or ()]
        asked = dict(metadata).get("x-status", "UNAVAILABLE" if self.draining else "OK")
        if HOLD in metadata:
            await self.stream(context)
        elif asked == "OK":
            await context.send_initial_metadata((("x-shoal-replica", self.name),))
            await context.write(json.dumps(metadata).encode())
        else:
            await context.abort(grpc.StatusCode[asked], "as asked")

    async def stream(self, context: Context) -> None:
        await context.send_initial_metadata((("x-shoal-replica", self.name), ("x-shoal-cache", "miss")))
        await context.write(self.name.encode())
        await self.released.wait()
        await context.write(b"released")


async def serving(request: bytes, context: Context) -> bytes:
    return SERVING


async def echo_request(request: web.Request) -> web.StreamResponse:
    """The gateway: the path and the headers that arrived, as JSON. Below /broken it hangs up, below /held it waits."""
    if "held" in request.path:
        await request.read()
        await asyncio.Event().wait()
    if "broken" in request.path and request.transport is not None:
        request.transport.close()
    return web.json_response({"path": request.path_qs, "headers": list(request.headers.items())})


@asynccontextmanager
async def grpc_server(port: int, methods: Methods, mesh: MeshTls | None = None) -> AsyncIterator[None]:
    """A server as Envoy asks it, always healthy; with `mesh` one that takes only calls from there."""
    terms = Terms([methods], is_serving=lambda: True)
    async with listening(terms, port=port, tls=mesh.server_context() if mesh else None):
        yield


def limiting(limiter: rls_pb2_grpc.RateLimitServiceServicer) -> Methods:
    """What a server has to offer that answers for the limiter."""
    methods = new_server()
    rls_pb2_grpc.add_RateLimitServiceServicer_to_server(limiter, methods)
    return methods


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
