"""Events in one piece: what goes in comes out, and protobuf reads it as what it is."""

import tracemalloc

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from services.cache.events import Events, event_bytes
from shoal.cache.v1 import cache_pb2 as pb

AROUND_EACH_LENGTH = [0, 1, 2**7 - 1, 2**7, 2**14 - 1, 2**14, 2**21 - 1, 2**21]
"""The sizes between which a length takes one byte more."""

events = st.lists(st.one_of(st.binary(max_size=200), st.integers(0, 40_000).map(bytes)), max_size=20)
nearly_packed = st.lists(
    st.one_of(st.sampled_from([b"\x0a", b"\x00", b"\x01", b"\x02", b"\x80", b"\x81", b"\xff"]), st.binary(max_size=3)),
    max_size=12,
).map(b"".join)


@given(events)
def test_events_come_back_as_they_were(events: list[bytes]) -> None:
    packed = Events.of(events)
    assert list(packed) == events
    assert Events.from_packed(packed.packed) == packed
    assert packed.size_bytes == sum(map(event_bytes, events)) == len(packed.packed)


@pytest.mark.parametrize("size", AROUND_EACH_LENGTH)
def test_the_packed_form_is_that_of_the_events_of_a_hit(size: int) -> None:
    events = [b"before", bytes(size), b""]
    assert pb.Hit(events=events).SerializeToString() == Events.of(events).packed
    assert list(Events.of(events)) == events
    assert event_bytes(bytes(size)) == pb.Hit(events=[bytes(size)]).ByteSize()


@given(nearly_packed)
def test_what_is_taken_for_packed_is_what_protobuf_would_write(packed: bytes) -> None:
    try:
        events = Events.from_packed(packed)
    except ValueError:
        assert not is_written_by_protobuf(packed)
    else:
        assert is_written_by_protobuf(packed)
        assert pb.Hit(events=events) == pb.Hit.FromString(packed)


def is_written_by_protobuf(packed: bytes) -> bool:
    try:
        return pb.Hit(events=pb.Hit.FromString(packed).events).SerializeToString() == packed
    except DecodeError:
        return False


@pytest.mark.parametrize(
    "wrong",
    [
        b"\x0a",
        b"\x0a\x01",
        b"\x0a\x02x",
        b"\x0a\x01xy",
        b"\x12\x01x",
        b"\x0a\x80",
        b"\x0a\x81\x00x",
        b"\x0a\x80\x01" + bytes(127),
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a" + b"\x80" * 1000,
    ],
)
def test_anything_else_is_refused_wherever_it_stands(wrong: bytes) -> None:
    for packed in (wrong, Events.of([b"first"]).packed + wrong):
        with pytest.raises(ValueError, match="event"):
            Events.from_packed(packed)


def test_packed_events_are_checked_without_an_object_for_each() -> None:
    packed = Events.of([b"an event"] * 20_000).packed
    tracemalloc.start()
    try:
        events = Events.from_packed(packed)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert events.packed is packed
    assert most_bytes < 10_000
