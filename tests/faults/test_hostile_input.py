"""Requests that are too large, too deep, broken or bombs: refused as the caller's fault, and nothing falls over."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator

import grpc
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.agent.v1 import agent_pb2 as pb
from tests.e2e.grpc_calls import raw_method
from tests.faults.footprint import MIB, Peaks
from tests.faults.raw_http2 import GRPC_HEADERS, RawHttp2, front_port, grpc_message
from tests.mesh import Mesh

STRANGER = "127.0.0.4"
GIB = 1 << 30
MESSAGE_LIMIT = 4 << 20
BODY_LIMIT = 2 << 20
EXECUTE = "/shoal.agent.v1.AgentService/Execute"
LIST_MODELS = "/shoal.agent.v1.AgentService/ListModels"
METHODS = ("Execute", "ExecuteStream", "GetSession", "DeleteSession", "GetPreferences", "PutPreferences", "ListModels")
CALLERS_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNIMPLEMENTED,
}
BOMB_GROWTH = 32 * MIB
"""Less than any of the bombs unfolds to."""
WINDOWFUL = 60 * MIB
"""What a bomb of 64 KiB unfolds to."""


@pytest.fixture(scope="module")
def key(mesh: Mesh) -> str:
    return mesh.create_key(tenant="fuzzer", tier="bench")


@pytest.fixture(scope="module")
def rest(mesh: Mesh, key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mesh.url, headers={"X-API-Key": key}, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def channel(mesh: Mesh) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(mesh.grpc_target) as channel:
        yield channel


@pytest.fixture(autouse=True)
def nobody_falls_over(mesh: Mesh) -> Iterator[None]:
    before = mesh.pids()
    yield
    assert mesh.pids() == before


def http1(mesh: Mesh, head: str, *pieces: bytes) -> bytes:
    """Sends what it can and gives the status line that comes back."""
    with socket.create_connection(("127.0.0.1", front_port(mesh)), timeout=60) as connection:
        try:
            connection.sendall(head.encode())
            for piece in pieces:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return connection.recv(65536).partition(b"\r\n")[0]


def test_a_body_announced_as_a_gibibyte_is_413(mesh: Mesh, key: str) -> None:
    head = f"POST /api/v1/task HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-length: {GIB}\r\n\r\n"
    assert http1(mesh, head, b"{").startswith(b"HTTP/1.1 413")


def test_a_body_in_chunks_that_never_ends_is_413(mesh: Mesh, key: str) -> None:
    head = f"POST /api/v1/task HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = [b"10000\r\n" + b" " * 65536 + b"\r\n"] * (3 * MESSAGE_LIMIT // 65536)
    assert http1(mesh, head, *chunks).startswith(b"HTTP/1.1 413")


def test_a_message_a_byte_over_the_limit_is_resource_exhausted(channel: grpc.Channel, key: str) -> None:
    assert refusal(channel, b"\x0a" * (MESSAGE_LIMIT + 1), key) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_message_far_over_the_limit_is_resource_exhausted_too(channel: grpc.Channel, key: str) -> None:
    """Envoy refuses it before a replica sees its end."""
    assert refusal(channel, b"\x0a" * 2 * MESSAGE_LIMIT, key) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_message_announced_as_four_gibibytes_is_refused_before_it_comes(mesh: Mesh, key: str) -> None:
    with RawHttp2(front_port(mesh), address=STRANGER) as client:
        client.send(client.request(1, EXECUTE, ("x-api-key", key), *GRPC_HEADERS))
        client.send(client.data(1, b"\0\xff\xff\xff\xff" + b"\x0a" * 100))
        assert client.answer(1)["grpc-status"] == str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])


def test_a_message_shorter_than_announced_holds_up_nobody_else(mesh: Mesh, key: str) -> None:
    """grpcio takes it for a call that was cancelled and never answers. Its stream ends with the connection, or when
    it has been silent for too long."""
    with RawHttp2(front_port(mesh), address=STRANGER) as client:
        client.send(client.request(1, EXECUTE, ("x-api-key", key), *GRPC_HEADERS))
        client.send(client.data(1, grpc_message(b"\x0a" * 100)[:50], ends=True))
        client.send(client.request(3, LIST_MODELS, ("x-api-key", key), *GRPC_HEADERS))
        client.send(client.data(3, grpc_message(b""), ends=True))
        assert client.answer(3)["grpc-status"] == "0"


def refusal(channel: grpc.Channel, message: bytes, key: str, method: str = EXECUTE) -> grpc.StatusCode:
    """The status of a call with these bytes."""
    try:
        raw_method(channel, method)(message, metadata=(("x-api-key", key),), timeout=60)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


HEADERS: dict[str, list[tuple[str, str]]] = {
    "one header of 40 KB": [("x-long", "a" * 40_000)],
    "many headers of 60 KB": [(f"x-{number}", "a" * 1000) for number in range(60)],
    "101 headers": [(f"x-{number}", "a") for number in range(101)],
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_over_the_limit_are_431(name: str, rest: httpx.Client) -> None:
    assert rest.get("/v1/models", headers=HEADERS[name]).status_code == 431


@pytest.mark.parametrize("name", HEADERS)
def test_metadata_over_the_limit_is_not_taken(name: str, mesh: Mesh, key: str) -> None:
    """Over HTTP/2 Envoy says it without a status: it resets the stream, or closes the connection that sends so much."""
    with RawHttp2(front_port(mesh), address=STRANGER) as client:
        client.send(client.request(1, EXECUTE, ("x-api-key", key), *GRPC_HEADERS, *HEADERS[name]))
        assert client.answer(1).keys() in ({"reset"}, {"closed"})


def test_a_header_with_nul_is_400(mesh: Mesh, key: str) -> None:
    head = f"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\nx-odd: a\0b\r\n\r\n"
    assert http1(mesh, head).startswith(b"HTTP/1.1 400")


def test_nul_in_a_task_is_the_callers_fault(rest: httpx.Client, channel: grpc.Channel, key: str) -> None:
    answer = rest.post("/api/v1/task", json={"task": "a\0b"})
    assert (answer.status_code, answer.json()["field"]) == (400, "task")
    message = pb.ExecuteRequest(task="a\0b").SerializeToString()
    assert refusal(channel, message, key) is grpc.StatusCode.INVALID_ARGUMENT


def test_fields_of_a_newer_version_are_passed_over(channel: grpc.Channel, key: str) -> None:
    unknown = b"\xfa\x3e\x03abc"
    assert refusal(channel, pb.ExecuteRequest(task="x").SerializeToString() + unknown, key) is grpc.StatusCode.OK


def test_a_compressed_bomb_over_rest_is_refused_unopened(mesh: Mesh, rest: httpx.Client) -> None:
    peaks = Peaks(mesh)
    answer = rest.post("/api/v1/task", content=bomb(GIB), headers={"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["reason"]) == (400, "MALFORMED_REQUEST")
    assert max(peaks.growth().values()) < BOMB_GROWTH, peaks.growth()


def test_a_compressed_bomb_over_grpc_is_refused_unopened(mesh: Mesh, key: str) -> None:
    peaks = Peaks(mesh)
    with RawHttp2(front_port(mesh), address=STRANGER) as client:
        client.send(client.request(1, EXECUTE, ("x-api-key", key), ("grpc-encoding", "gzip"), *GRPC_HEADERS))
        # No more than the stream's window takes: who sends more is cut off, and hears no status.
        client.send_data(1, grpc_message(bomb(WINDOWFUL), compressed=True))
        assert client.answer(1)["grpc-status"] == str(grpc.StatusCode.UNIMPLEMENTED.value[0])
    assert max(peaks.growth().values()) < BOMB_GROWTH, peaks.growth()


def bomb(unfolded: int) -> bytes:
    """About a thousandth of what it unfolds to."""
    return gzip.compress(b"\0" * MIB) * (unfolded // MIB)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_characters="["), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    "task", "context", "session_id", "user_id", "stream", "model", "max_tokens", "temperature", "tools", "tool_choice",
    "cache", "messages", "priority", "stop", "seed", "input", "preferences", "expected_version",
)  # fmt: skip
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6).map(
    lambda body: json.dumps({"task": "x", **body}).encode()
)
PLACES = (
    ("POST", "/api/v1/task"),
    ("POST", "/v1/chat/completions"),
    ("PUT", "/api/v1/users/fuzz/preferences"),
    ("GET", "/api/v1/sessions/fuzz"),
)


@settings(max_examples=150, derandomize=True, database=None)
@given(place=st.sampled_from(PLACES), body=BODIES | st.binary(max_size=200))
def test_no_body_is_a_fault_of_ours(rest: httpx.Client, place: tuple[str, str], body: bytes) -> None:
    answer = rest.request(*place, content=body)
    assert answer.status_code < 500, answer.text


TURNS = st.builds(
    pb.ExecuteRequest,
    task=st.text(st.characters(exclude_characters="["), min_size=1, max_size=20),
    session_id=st.sampled_from(["", "s", "new", "\0", "x" * 200]),
    user_id=st.sampled_from(["", "ada", "\n"]),
    model=st.sampled_from(["", "simulated", "nosuch"]),
    tool_choice=st.text(max_size=5),
).map(lambda turn: turn.SerializeToString())


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good message with a few bytes changed."""
    message = bytearray(draw(TURNS))
    for _ in range(draw(st.integers(0, 4))):
        message[draw(st.integers(0, len(message) - 1))] = draw(st.integers(0, 255))
    return bytes(message)


@settings(max_examples=150, derandomize=True, database=None)
@given(method=st.sampled_from(METHODS), message=mutated() | st.binary(max_size=100))
def test_no_message_is_a_fault_of_ours(channel: grpc.Channel, key: str, method: str, message: bytes) -> None:
    code = refusal(channel, message, key, f"/shoal.agent.v1.AgentService/{method}")
    assert code is grpc.StatusCode.OK or code in CALLERS_FAULT
