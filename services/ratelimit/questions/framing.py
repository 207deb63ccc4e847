"""Calls of one message each way as gRPC frames them, in the bodies and trailers of HTTP/1.1: bytes alone, no I/O."""

from urllib.parse import quote

from google.rpc import code_pb2

PREFIX_BYTES = 5
"""Before each message: a flag that says whether it is compressed, and its length."""
_MESSAGE_SAFE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
"""What gRPC leaves as it is in `grpc-message`."""

_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n"
_AND_CLOSE = b"connection: close\r\n"
_SUCCESS = b"\r\n0\r\ngrpc-status: 0\r\n\r\n"


class CallError(Exception):
    """Ends a call with a status other than OK, by its number."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def message_in(body: bytes, *, most_bytes: int) -> bytes:
    """The one message of a request's body, of up to so many bytes. Raises CallError for anything else."""
    if len(body) < PREFIX_BYTES:
        raise CallError(code_pb2.INTERNAL, "The body holds no message.")
    if body[0]:
        raise CallError(code_pb2.UNIMPLEMENTED, "Compressed messages are not understood.")
    length = int.from_bytes(body[1:PREFIX_BYTES])
    if length > most_bytes:
        raise too_large(most_bytes)
    if len(body) != PREFIX_BYTES + length:
        raise CallError(code_pb2.INTERNAL, "The body is not one whole message.")
    return body[PREFIX_BYTES:]


def too_large(most_bytes: int) -> CallError:
    return CallError(code_pb2.RESOURCE_EXHAUSTED, f"The message is larger than {most_bytes} bytes.")


def reply(message: bytes, *, and_close: bool = False) -> bytes:
    """The whole response with an answer. With `and_close` it says that the connection ends after it."""
    length = len(message)
    head = _OK + _AND_CLOSE if and_close else _OK
    return b"%b\r\n%x\r\n\0%b%b%b" % (head, PREFIX_BYTES + length, length.to_bytes(4), message, _SUCCESS)


def refusal(error: CallError, *, and_close: bool = False) -> bytes:
    """The whole response that ends a call without an answer."""
    head = _OK + _AND_CLOSE if and_close else _OK
    said = quote(error.message, safe=_MESSAGE_SAFE).encode()
    return b"%b\r\n0\r\ngrpc-status: %d\r\ngrpc-message: %b\r\n\r\n" % (head, error.status, said)


def plain(status: str, text: str = "", *, and_close: bool = False) -> bytes:
    """A whole response that is none of gRPC's, such as `200 OK`."""
    body = text.encode()
    end = _AND_CLOSE if and_close else b""
    return b"HTTP/1.1 %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n%b\r\n%b" % (
        status.encode(),
        len(body),
        end,
        body,
    )
