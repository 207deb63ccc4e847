"""gRPC's messages, metadata and statuses in the bodies, headers and trailers of HTTP/1.1."""

import itertools
import math

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.http1 import framing
from meshkit.http1.framing import MOST_WAITING, MOST_WAITING_BYTES, CallError, Header, Messages
from tests.unit.meshkit.http1.wire import framed

MOST = 1000
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)).map(str.strip)


def taken(messages: Messages) -> list[bytes]:
    return [messages.take() for _ in range(len(messages))]


def headers_of(lines: bytes) -> list[Header]:
    """As a parser of HTTP tells them."""
    pairs = (line.partition(b":") for line in lines.split(b"\r\n")[:-1])
    return [(name, value.strip()) for name, _, value in pairs]


@given(st.lists(st.binary(max_size=50)), st.lists(st.integers(min_value=0, max_value=300)))
def test_messages_are_the_same_in_whatever_packets_they_come(messages: list[bytes], cuts: list[int]) -> None:
    body = b"".join(map(framing.framed, messages))
    cutter = Messages(MOST)
    for begin, end in itertools.pairwise([0, *sorted(cuts), max([len(body), *cuts])]):
        cutter.feed(body[begin:end])
    cutter.end()
    assert taken(cutter) == messages


def test_a_large_message_may_come_in_very_many_packets() -> None:
    """Put together anew for each packet, this would take minutes."""
    message = b"x" * (4 << 20)
    body = framed(message)
    cutter = Messages(len(message))
    for place in range(0, len(body), 16):
        cutter.feed(body[place : place + 16])
    assert taken(cutter) == [message]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (framed(b"abc", flag=1), grpc.StatusCode.UNIMPLEMENTED),
        (framed(b"abc", flag=128), grpc.StatusCode.UNIMPLEMENTED),
        (framed(b"", length=MOST + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (framed(b"x" * (MOST + 1)), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
@pytest.mark.parametrize("before", [b"", framed(b"abc"), framed(b"abc") * 2])
def test_what_is_no_message_is_refused_as_soon_as_that_is_known(
    before: bytes, body: bytes, code: grpc.StatusCode
) -> None:
    cutter = Messages(MOST)
    cutter.feed(before)
    with pytest.raises(CallError) as refused:
        cutter.feed(body)
    assert refused.value.code is code


@pytest.mark.parametrize("body", [b"\0", b"\0\0\0\0", framed(b"abc", length=4), framed(b"abc", length=2)])
def test_a_body_that_ends_within_a_message_is_refused(body: bytes) -> None:
    cutter = Messages(MOST)
    cutter.feed(body)
    with pytest.raises(CallError):
        cutter.end()


@pytest.mark.parametrize(("message", "most"), [(b"", MOST_WAITING), (b"x" * (1 << 16), MOST_WAITING_BYTES >> 16)])
def test_only_so_many_messages_and_so_many_bytes_may_wait(message: bytes, most: int) -> None:
    cutter = Messages(1 << 20)
    fills = []
    for _ in range(most + 1):
        cutter.feed(framed(message))
        fills.append(cutter.is_full)
    assert fills == [False] * most + [True]
    cutter.take()
    assert not cutter.is_full


def test_a_chunk_has_its_length_before_it() -> None:
    assert framing.chunk(b"x" * 300) == b"12c\r\n%b\r\n" % (b"x" * 300)


@given(st.lists(st.tuples(st.sampled_from(["x-a", "x_b", "c.d"]), PRINTABLE)), st.lists(st.binary(min_size=1)))
def test_metadata_comes_back_as_it_was_sent(texts: list[tuple[str, str]], binaries: list[bytes]) -> None:
    metadata: framing.Metadata = (*texts, *(("x-any-bin", value) for value in binaries))
    assert framing.metadata_in(headers_of(framing.lines(metadata))) == metadata


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", "1\r\ny: 2"),
        ("x", "1\n"),
        ("x", "\0"),
        ("x", "ü"),
        ("x: 1\r\ny", "2"),
        ("x\n", "1"),
        ("X", "1"),
        ("", "1"),
        (":path", "/"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("grpc-status", "0"),
        ("host", "elsewhere"),
        ("x-shoal-timeout", "1H"),
    ],
)
def test_what_would_be_read_as_something_else_is_not_sent(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent as metadata"):
        framing.lines(((name, value),))


@pytest.mark.parametrize("pair", [("x-bin", "text"), ("x", b"bytes")])
def test_bytes_have_names_that_say_so_and_text_has_not(pair: tuple[str, str | bytes]) -> None:
    with pytest.raises(ValueError, match="names that end in -bin have bytes"):
        framing.lines([pair])


def test_headers_about_the_transport_are_no_metadata() -> None:
    timeouts = [(b"grpc-timeout", b"1S"), (b"x-shoal-timeout", b"1S")]
    headers = [(b"host", b"a"), (b"te", b"trailers"), *timeouts, (b":path", b"/"), (b"x-a", b"1")]
    assert framing.metadata_in(headers) == (("x-a", "1"),)


def test_several_binary_values_may_share_a_line() -> None:
    assert framing.metadata_in([(b"x-bin", b"YQ==, Yg")]) == (("x-bin", b"a"), ("x-bin", b"b"))


@pytest.mark.parametrize("value", [b"a", b"*", b"YQ==YQ=="])
def test_a_binary_value_that_is_none_is_refused(value: bytes) -> None:
    with pytest.raises(CallError):
        framing.metadata_in([(b"x-bin", value)])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"0n", 0), (b"250m", 0.25), (b"7u", 7e-6), (b"3S", 3), (b"2M", 120), (b"99999999H", 99_999_999 * 3600)],
)
def test_a_timeout_is_digits_and_a_unit(value: bytes, seconds: float) -> None:
    assert framing.timeout_in(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"1", b"S", b"-1S", b"1.5S", b"1s", b"123456789S", b"\xd9\xa1S", b"1_0S"])
def test_a_timeout_that_is_none_is_refused(value: bytes) -> None:
    with pytest.raises(CallError):
        framing.timeout_in(value)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"x-other", b"soon")], None),
        ([(b"grpc-timeout", b"5S")], 5),
        ([(b"x-shoal-timeout", b"5S")], 5),
        ([(b"grpc-timeout", b"5S"), (b"x-shoal-timeout", b"1H")], 5),
        ([(b"grpc-timeout", b"910000m"), (b"x-other", b"1S"), (b"x-shoal-timeout", b"0n")], 0),
    ],
)
def test_the_least_that_is_said_is_granted(headers: list[framing.Header], seconds: float | None) -> None:
    assert framing.granted_in(headers) == seconds


@given(st.floats(min_value=0, max_value=99_999_999))
def test_a_timeout_that_is_handed_on_is_not_less_and_hardly_more(seconds: float) -> None:
    handed_on = framing.timeout_in(framing.timeout_value(seconds).encode())
    assert handed_on >= seconds or math.isclose(handed_on, seconds)
    assert handed_on <= seconds + max(1e-6, seconds / 10_000)


@given(st.sampled_from(list(grpc.StatusCode)), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_status_comes_back_as_it_was_told(code: grpc.StatusCode, message: str) -> None:
    lines = framing.status_lines(code, message)
    assert lines.isascii()
    assert lines.count(b"\r\n") == lines.count(b"\n") == 1 + bool(message)
    # The spaces around a value are no part of it.
    assert framing.status_in(headers_of(lines)) == (code, message.strip(" "))


def test_text_that_is_no_unicode_can_be_told_all_the_same() -> None:
    assert framing.status_lines(grpc.StatusCode.INTERNAL, "a\ud800") == b"grpc-status: 13\r\ngrpc-message: a?\r\n"


@pytest.mark.parametrize("number", [b"17", b"-1", b"x", b"", b"9" * 5000])
def test_a_status_that_nobody_knows_is_unknown(number: bytes) -> None:
    assert framing.status_in([(b"grpc-status", number)]) == (grpc.StatusCode.UNKNOWN, "")


def test_an_end_may_be_without_a_status() -> None:
    assert framing.status_in([(b"x", b"y")]) is None
