"""Floods of frames and of connections: the one who floods is cut off, nobody else notices."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from shoal.agent.v1 import agent_pb2 as pb
from tests.faults.bystanders import BystandersOf
from tests.faults.callers import Caller, caller_of, turn
from tests.faults.envoy_stats import envoy_stat
from tests.faults.footprint import MIB, Peaks
from tests.faults.raw_http2 import RawHttp2, front_port, reset
from tests.mesh import Mesh

FLOODER = "127.0.0.2"
BATCHES = 400
BATCH = 500
FEW = 3
AT_ONCE = 50
IDLE_CONNECTIONS = 1000
CANCELS = 1500
ENVOYS_DEFAULT = 1000
"""After so many resets Envoy cuts a connection that it knows nothing better about."""
GROWTH = 64 * MIB
FREE_PATH = "/health"

Flood = Callable[[RawHttp2], Iterator[list[Frame]]]


def rapid_resets(connection: RawHttp2) -> Iterator[list[Frame]]:
    for batch in range(BATCHES):
        streams = range(1 + 2 * batch * BATCH, 1 + 2 * (batch + 1) * BATCH, 2)
        yield [
            frame
            for stream in streams
            for frame in (connection.request(stream, FREE_PATH, method="GET"), reset(stream))
        ]


def pings(connection: RawHttp2) -> Iterator[list[Frame]]:
    return same([PingFrame(0, b"12345678")])


def settings(connection: RawHttp2) -> Iterator[list[Frame]]:
    return same([SettingsFrame(0, settings={SettingsFrame.MAX_FRAME_SIZE: 16384})])


def priorities(connection: RawHttp2) -> Iterator[list[Frame]]:
    return same([PriorityFrame(1, depends_on=0, stream_weight=1)])


def empty_data(connection: RawHttp2) -> Iterator[list[Frame]]:
    yield [connection.request(1, "/api/v1/task")]
    yield from same([DataFrame(1, b"")])


def window_updates(connection: RawHttp2) -> Iterator[list[Frame]]:
    yield [connection.request(1, "/api/v1/task")]
    yield from same([WindowUpdateFrame(1, window_increment=1)])


def endless_headers(connection: RawHttp2) -> Iterator[list[Frame]]:
    opening = connection.request(1, "/api/v1/task")
    yield [HeadersFrame(1, data=opening.data)]
    # A literal header that is not to be indexed: x: and a thousand characters.
    literal = b"\x00\x01x\x7f" + b"\xe9\x06" + b"a" * 1000
    yield from same([ContinuationFrame(1, data=literal)])


def same(frames: list[Frame]) -> Iterator[list[Frame]]:
    for _ in range(BATCHES):
        yield frames * BATCH


UNFINISHED = "endless headers"
"""Between those no other frame is allowed, not even in peace."""
FLOODS: dict[str, Flood] = {
    "rapid reset": rapid_resets,
    "pings": pings,
    "settings": settings,
    "priorities": priorities,
    "empty data": empty_data,
    "window updates": window_updates,
    UNFINISHED: endless_headers,
}


@pytest.mark.parametrize("name", [name for name in FLOODS if name != UNFINISHED])
def test_a_little_of_what_makes_a_flood_is_no_fault(name: str, mesh: Mesh) -> None:
    with connected(mesh) as connection:
        for frame in next(FLOODS[name](connection))[:FEW]:
            connection.send(frame)
        assert connection.answers_ping()


async def test_a_flood_of_frames_ends_the_connection_that_sends_it(mesh: Mesh, bystanders: BystandersOf) -> None:
    peaks = Peaks(mesh)
    async with bystanders(mesh) as others:
        await others.quiet()
        for name, flood in FLOODS.items():
            goodbye = await asyncio.to_thread(flooded, mesh, flood)
            await others.during(f"a flood of frames: {name}")
            assert goodbye is None or goodbye.error_code != 0, name
    assert max(peaks.growth().values()) < GROWTH, peaks.growth()


def flooded(mesh: Mesh, flood: Flood) -> GoAwayFrame | None:
    """Floods, and returns when the other side has closed the connection, with its goodbye if that came through."""
    with connected(mesh) as connection:
        connection.flood(flood(connection))
        return connection.end()


def connected(mesh: Mesh) -> RawHttp2:
    return RawHttp2(front_port(mesh), address=FLOODER)


async def test_a_client_that_cancels_often_keeps_its_connection(mesh: Mesh, bystanders: BystandersOf) -> None:
    """A stream that runs meanwhile on the same connection comes to its end."""
    key = await asyncio.to_thread(mesh.create_key, tenant="fickle", tier="bench")
    async with caller_of(mesh, key) as caller, bystanders(mesh) as others:
        await others.quiet()
        resets = envoy_stat(mesh, "http.front.downstream_rq_rx_reset")
        steady = asyncio.create_task(caller.grpc_stream("steady [[tokens=100]] [[tokens_per_second=20]]"))
        for _ in range(CANCELS // AT_ONCE):
            await asyncio.gather(*(change_ones_mind(caller) for _ in range(AT_ONCE)))
        assert envoy_stat(mesh, "http.front.downstream_rq_rx_reset") - resets > ENVOYS_DEFAULT
        assert (await steady).split() == ["steady"] * 100
        await others.during(f"a client cancels {CANCELS} calls")


async def change_ones_mind(caller: Caller) -> None:
    stream = caller.agent.ExecuteStream(pb.ExecuteStreamRequest(turn=turn("Wait. [[hang]]")), metadata=caller.metadata)
    await stream.initial_metadata()
    stream.cancel()


async def test_a_thousand_idle_connections_are_in_nobodys_way(mesh: Mesh, bystanders: BystandersOf) -> None:
    peaks = Peaks(mesh)
    with ExitStack() as idle:
        async with bystanders(mesh) as others:
            await others.quiet()
            for number in range(IDLE_CONNECTIONS):
                idle.enter_context(
                    socket.create_connection(("127.0.0.1", front_port(mesh)), source_address=(FLOODER, 0))
                )
                if number % 2:
                    idle.enter_context(connected(mesh))
            await others.during(f"{IDLE_CONNECTIONS} idle connections")
    assert max(peaks.growth().values()) < GROWTH, peaks.growth()
