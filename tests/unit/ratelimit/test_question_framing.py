"""gRPC's framing in the bodies and trailers of HTTP/1.1."""

import pytest
from google.rpc import code_pb2

from services.ratelimit.questions import framing
from services.ratelimit.questions.framing import CallError, message_in

MOST = 1000


def framed(message: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    return bytes([flag]) + (len(message) if length is None else length).to_bytes(4) + message


@pytest.mark.parametrize("message", [b"", b"x", b"x" * MOST])
def test_a_message_is_what_its_prefix_says(message: bytes) -> None:
    assert message_in(framed(message), most_bytes=MOST) == message


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", code_pb2.INTERNAL),
        (b"\0\0\0\0", code_pb2.INTERNAL),
        (framed(b"abc", length=4), code_pb2.INTERNAL),
        (framed(b"abc", length=2), code_pb2.INTERNAL),
        (framed(b"abc") + framed(b"abc"), code_pb2.INTERNAL),
        (framed(b"abc", flag=1), code_pb2.UNIMPLEMENTED),
        (framed(b"abc", flag=128), code_pb2.UNIMPLEMENTED),
        (framed(b"abc", length=MOST + 1), code_pb2.RESOURCE_EXHAUSTED),
        (framed(b"x" * (MOST + 1)), code_pb2.RESOURCE_EXHAUSTED),
    ],
)
def test_what_is_no_single_whole_message_is_refused(body: bytes, status: int) -> None:
    with pytest.raises(CallError) as refused:
        message_in(body, most_bytes=MOST)
    assert refused.value.status == status


def test_an_answer_is_one_chunk_with_the_status_behind_it() -> None:
    head, _, body = framing.reply(b"x" * 300).partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"content-type: application/grpc",
        b"transfer-encoding: chunked",
    ]
    assert body == b"131\r\n" + framed(b"x" * 300) + b"\r\n0\r\ngrpc-status: 0\r\n\r\n"


def test_a_refusal_is_trailers_alone_and_its_message_stays_on_its_line() -> None:
    answer = framing.refusal(CallError(code_pb2.INVALID_ARGUMENT, "100 % of ü\r\nx: y"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n")
    assert body == b"0\r\ngrpc-status: 3\r\ngrpc-message: 100 %25 of %C3%BC%0D%0Ax: y\r\n\r\n"


@pytest.mark.parametrize("and_close", [False, True])
def test_the_last_answer_of_a_connection_says_so(and_close: bool) -> None:
    error = CallError(code_pb2.INTERNAL, "x")
    for answer in (
        framing.reply(b"x", and_close=and_close),
        framing.refusal(error, and_close=and_close),
        framing.plain("200 OK", and_close=and_close),
    ):
        assert (b"\r\nconnection: close\r\n" in answer.partition(b"\r\n\r\n")[0] + b"\r\n") == and_close
