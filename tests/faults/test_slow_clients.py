"""Clients that read or write as slowly as they can: they hold up the model, fill nobody's memory, and are cut off."""

import asyncio
import functools
import json
import select
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice

import pytest
from hyperframe.frame import HeadersFrame, RstStreamFrame, SettingsFrame

from launcher.processes.status import status_of
from shoal.agent.v1 import agent_pb2 as pb
from tests.faults.bystanders import BystandersOf
from tests.faults.footprint import Peaks
from tests.faults.raw_http2 import GRPC_HEADERS, RawHttp2, front_port, grpc_message
from tests.faults.waiting import until
from tests.mesh import Mesh
from tests.simulated_model import ModelProcess, Server, clients_of

SLOW_CLIENT = "127.0.0.3"
TOKENS, TOKEN_BYTES = 960, 100_000
TASK = f"{'x' * TOKEN_BYTES} [[tokens={TOKENS}]] [[tokens_per_second=1000]]"
ANSWER_BYTES = TOKENS * TOKEN_BYTES
"""Writing down so long an answer keeps the simulated model from all else for up to half a second, which bystanders see
as a gap: it is not the mesh's."""
GROWTH = ANSWER_BYTES * 2 // 3
"""Less than the answer that nobody takes. Measured: 34 MB in the agent, however long the answer is. Each of the five
sockets on its way holds a few MB in the kernel, and the agent remembers what it has sent."""
TRICKLE_SECONDS = 0.1


@pytest.fixture
async def simulated(model: ModelProcess) -> AsyncIterator[Server]:
    async with clients_of(model) as server:
        await server.calls_reach(concurrent=0, waiting=0)
        yield server


@pytest.fixture(scope="module")
def key(mesh: Mesh) -> str:
    return mesh.create_key(tenant="snail", tier="bench")


@contextmanager
def connection(mesh: Mesh) -> Iterator[socket.socket]:
    """A connection whose own buffer is small, so that what is not read stays with the sender."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(60)
        client.bind((SLOW_CLIENT, 0))
        client.connect(("127.0.0.1", front_port(mesh)))
        yield client


def http1(mesh: Mesh, key: str, body: bytes) -> bytes:
    head = f"POST /api/v1/task HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def read_in_trickles(client: socket.socket, enough: threading.Event) -> None:
    """Takes a few bytes now and then."""
    while not enough.wait(TRICKLE_SECONDS):
        client.recv(64)


def write_in_trickles(client: socket.socket, content: Iterator[bytes]) -> bytes:
    """Sends a byte now and then until there is an answer or an end; returns what came."""
    for piece in content:
        if select.select([client], [], [], TRICKLE_SECONDS)[0]:
            break
        client.sendall(piece)
    return everything(client)


def everything(client: socket.socket) -> bytes:
    received = b""
    try:
        while piece := client.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


async def test_who_reads_an_event_stream_in_trickles_holds_up_the_model_and_is_cut_off(
    mesh: Mesh, key: str, simulated: Server, bystanders: BystandersOf
) -> None:
    body = json.dumps({"task": TASK, "stream": True, "cache": {"mode": "bypass"}}).encode()
    enough = threading.Event()
    async with bystanders(mesh, sse=2, grpc=2) as others:
        await others.quiet()
        await simulated.http.delete("/calls")
        peaks = Peaks(mesh)
        with connection(mesh) as client:
            client.sendall(http1(mesh, key, body))
            trickle = asyncio.create_task(asyncio.to_thread(read_in_trickles, client, enough))
            await simulated.calls_reach(cancelled=1)
            enough.set()
            await trickle
            rest = everything(client)
        await others.during("a client reads an event stream in trickles")
    assert b"[DONE]" not in rest
    assert max(peaks.growth().values()) < GROWTH, peaks.growth()


def over_grpc(client: RawHttp2, key: str) -> None:
    turn = pb.ExecuteRequest(task=TASK, cache=pb.CacheControl(mode=pb.CACHE_MODE_BYPASS))
    client.send(client.request(1, "/shoal.agent.v1.AgentService/ExecuteStream", ("x-api-key", key), *GRPC_HEADERS))
    client.send_data(1, grpc_message(pb.ExecuteStreamRequest(turn=turn).SerializeToString()))


def over_rest(client: RawHttp2, key: str) -> None:
    body = json.dumps({"task": TASK, "stream": True, "cache": {"mode": "bypass"}}).encode()
    client.send(client.request(1, "/api/v1/task", ("x-api-key", key), ("content-type", "application/json")))
    client.send_data(1, body)


@pytest.mark.parametrize("ask", [over_grpc, over_rest])
async def test_a_stream_whose_window_stays_shut_loses_its_slot_and_holds_up_nobody_else(
    mesh: Mesh, key: str, simulated: Server, bystanders: BystandersOf, ask: Callable[[RawHttp2, str], None]
) -> None:
    """Envoy counts what waits for a connection, and not what waits for the window of one stream on it. So the agent
    ends what is not read, though its client stays."""
    shut = {SettingsFrame.INITIAL_WINDOW_SIZE: 0}
    with RawHttp2(front_port(mesh), address=SLOW_CLIENT, settings=shut) as client:
        async with bystanders(mesh, sse=2, grpc=2) as others:
            await others.quiet()
            await simulated.http.delete("/calls")
            peaks = Peaks(mesh)
            ask(client, key)
            await simulated.calls_reach(cancelled=1)
            await others.during(f"a client keeps its window shut ({ask.__name__})")
        await until(functools.partial(is_idle, mesh), "the end of the call in its agent")
        assert await asyncio.to_thread(client.answers_ping)
    assert max(peaks.growth().values()) < GROWTH, peaks.growth()


async def is_idle(mesh: Mesh) -> bool:
    """Whether all slots of the agents are free."""
    told = [await status_of(mesh.metrics_port(agent)) for agent in ("agent-1", "agent-2")]
    return all(status is not None and status.running == 0 for status in told)


def until_reset(client: RawHttp2) -> None:
    """Returns when the other side has given up the stream or the connection."""
    for frame in client.frames():
        if isinstance(frame, RstStreamFrame):
            return


def test_who_sends_headers_in_trickles_is_cut_off(mesh: Mesh) -> None:
    start = b"POST /api/v1/task HTTP/1.1\r\nhost: localhost\r\nx-slow: "
    with connection(mesh) as client:
        client.sendall(start)
        answer = write_in_trickles(client, cycle([b"a"]))
    assert answer.startswith(b"HTTP/1.1 408") or not answer


def test_who_never_ends_the_headers_of_a_stream_is_cut_off(mesh: Mesh) -> None:
    with RawHttp2(front_port(mesh), address=SLOW_CLIENT) as client:
        opening = client.request(1, "/api/v1/task")
        client.send(HeadersFrame(1, data=opening.data))
        until_reset(client)


def test_who_sends_a_body_in_trickles_is_cut_off(mesh: Mesh, key: str) -> None:
    with connection(mesh) as client:
        client.sendall(http1(mesh, key, b" " * 1000)[:-1000])
        answer = write_in_trickles(client, islice(cycle([b" "]), 999))
    assert answer.startswith(b"HTTP/1.1 408"), answer


def test_who_sends_a_message_in_trickles_is_cut_off(mesh: Mesh, key: str) -> None:
    with RawHttp2(front_port(mesh), address=SLOW_CLIENT) as client:
        client.send(client.request(1, "/shoal.agent.v1.AgentService/Execute", ("x-api-key", key), *GRPC_HEADERS))
        client.send(client.data(1, b"\0\0\0\x01\0"))
        until_answered(client)


def until_answered(client: RawHttp2) -> None:
    """Returns when the other side has ended the stream."""
    for frame in client.frames():
        if isinstance(frame, RstStreamFrame) or (isinstance(frame, HeadersFrame) and "END_STREAM" in frame.flags):
            return
