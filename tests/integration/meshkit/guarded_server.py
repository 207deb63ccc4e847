"""A real gRPC server whose RPCs do what a test tells them to, behind the guard that every service has."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import grpc

from load.measuring.ports import free_port
from meshkit import serve
from meshkit.call_guard import CallGuard
from meshkit.channel import open_channel, open_http1_channel
from meshkit.errors import ShoalError
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Methods, Terms
from meshkit.mesh_tls import MeshTls
from meshkit.metrics import Metrics
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from shoal.cache.v1 import cache_pb2
from tests.backends import wait_until
from tests.mesh_identity import SIGNER

AGENT = "shoal.agent.v1.AgentService"
CACHE = "shoal.cache.v1.CacheService"
EXECUTE = f"/{AGENT}/Execute"
EXECUTE_STREAM = f"/{AGENT}/ExecuteStream"
PUBLISH = f"/{CACHE}/Publish"
TIMEOUT_SECONDS = 20.0
LONGEST_SECONDS = 900.0

Responses = AsyncGenerator[pb.ExecuteStreamResponse, None]
Context = grpc.aio.ServicerContext[Any, Any]


class Transport(StrEnum):
    """How a call comes to a server."""

    GRPC = "grpc"
    HTTP1 = "http1"

    def open(self, address: str, tls: MeshTls | None = None) -> grpc.aio.Channel:
        return (open_channel if self is Transport.GRPC else open_http1_channel)(address, tls=tls)


async def says_hello(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
    return pb.ExecuteResponse(output="Hello")


async def streams_hello(request: pb.ExecuteStreamRequest) -> Responses:
    for text in ("Hel", "lo"):
        yield pb.ExecuteStreamResponse(delta=pb.Delta(text=text))


async def messages(call: Any) -> AsyncIterator[Any]:
    """What a stream sends, read one by one, which every transport can."""
    while (message := await call.read()) is not grpc.aio.EOF:
        yield message


async def to_its_end(call: Any) -> None:
    async for _ in messages(call):
        pass


async def until_answered(ask: Callable[[], Awaitable[object]]) -> None:
    """Returns when a call succeeds, as it does once Envoy has found the server."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            try:
                await ask()
                return
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)


@dataclass
class Agent:
    """The two forms of a turn; each does what the test set."""

    execute: Callable[[pb.ExecuteRequest], Awaitable[pb.ExecuteResponse]] = says_hello
    execute_stream: Callable[[pb.ExecuteStreamRequest], Responses] = streams_hello
    metadata: list[tuple[str, str | bytes]] = field(default_factory=list)
    """What the last whole turn came with."""
    answers_with: tuple[tuple[str, str | bytes], ...] = ()
    """The metadata at the beginning of each answer."""

    def add_to(self, server: grpc.aio.Server) -> None:
        async def execute(request: pb.ExecuteRequest, context: Context) -> pb.ExecuteResponse:
            self.metadata = list(context.invocation_metadata() or ())
            await context.send_initial_metadata(self.answers_with)
            return await self.execute(request)

        async def execute_stream(
            request: pb.ExecuteStreamRequest, context: Context
        ) -> AsyncIterator[pb.ExecuteStreamResponse]:
            await context.send_initial_metadata(self.answers_with)
            async with aclosing(self.execute_stream(request)) as responses:
                async for response in responses:
                    yield response

        methods: Any = {
            "Execute": grpc.unary_unary_rpc_method_handler(
                execute, pb.ExecuteRequest.FromString, pb.ExecuteResponse.SerializeToString
            ),
            "ExecuteStream": grpc.unary_stream_rpc_method_handler(
                execute_stream, pb.ExecuteStreamRequest.FromString, pb.ExecuteStreamResponse.SerializeToString
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(AGENT, methods),))


@dataclass
class Cache:
    """A call whose request is a stream: remembers the steps that are published."""

    steps: list[str | None] = field(default_factory=list)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, it reads no more until it is set again."""
    refuses: ShoalError | None = None
    """What it says to the first request."""

    def __post_init__(self) -> None:
        self.goes_on.set()

    def add_to(self, server: grpc.aio.Server) -> None:
        async def publish(
            requests: AsyncIterator[cache_pb2.PublishRequest], context: Context
        ) -> cache_pb2.PublishResponse:
            async for request in requests:
                self.steps.append(request.WhichOneof("step"))
                if self.refuses:
                    raise self.refuses
                await self.goes_on.wait()
            return cache_pb2.PublishResponse(stored=True)

        methods: Any = {
            "Publish": grpc.stream_unary_rpc_method_handler(
                publish, cache_pb2.PublishRequest.FromString, cache_pb2.PublishResponse.SerializeToString
            )
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(CACHE, methods),))


@dataclass
class GuardedServer:
    """The server, and a channel to it."""

    agent: Agent
    cache: Cache
    channel: grpc.aio.Channel
    metrics: Metrics
    guard: CallGuard
    methods: Methods
    """What it serves, to be served elsewhere too."""

    @property
    def stub(self) -> "agent_pb2_grpc.AgentServiceAsyncStub":
        return agent_pb2_grpc.AgentServiceStub(self.channel)

    def counted(self, method: str, code: str) -> float:
        """How many calls ended like that."""
        labels = {"method": method, "code": code}
        return self.metrics.registry.get_sample_value("shoal_rpc_seconds_count", labels) or 0

    async def counts(self, method: str, code: str) -> None:
        """Returns when a call has ended like that."""
        await asyncio.to_thread(wait_until, lambda: self.counted(method, code) == 1, f"the end of a call with {code}")


@asynccontextmanager
async def guarded_server(
    transport: Transport, *, longest_seconds: float = LONGEST_SECONDS, slow_client_seconds: float = 30
) -> AsyncIterator[GuardedServer]:
    metrics, agent, cache = Metrics(), Agent(), Cache()
    guard = CallGuard(
        signer=SIGNER,
        metrics=metrics,
        replica="test-1",
        longest_seconds=longest_seconds,
        slow_client_seconds=slow_client_seconds,
    )
    server, ports = serve.new_server(guard), {each: free_port() for each in Transport}
    agent.add_to(server)
    cache.add_to(server)
    await serve.start(server, port=ports[Transport.GRPC], services=[AGENT, CACHE])
    try:
        async with (
            listening(Terms([server], is_serving=lambda: True), port=ports[Transport.HTTP1]),
            transport.open(f"127.0.0.1:{ports[transport]}") as channel,
        ):
            yield GuardedServer(agent, cache, channel, metrics, guard, server)
    finally:
        await server.stop(None)
