"""The binary form of an entry: what goes in comes out, and nothing else ever does."""

import hashlib
import random
import struct
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from services.cache.entry import Entry, Worth
from services.cache.events import Events, event_bytes
from services.cache.levels.entry_codec import COMPRESSED_FROM_BYTES, COMPRESSED_MAX_BYTES, decode, encode
from services.cache.levels.level import CorruptEntryError

KEY = "acme/response/" + "0a" * 32
SMALL = Entry(
    events=Events.of([b"first", b"", b"\x00\xff" * 20]),
    created=1_700_000_000.25,
    ttl_seconds=3600.0,
    stale_seconds=60.0,
    generation=1_700_000_000_123_456,
    tags=("weather", "été"),
    worth=Worth(input_tokens=12, output_tokens=345, cost_usd=0.0678),
)
COMPRESSIBLE = Entry(
    events=Events.of([b"again and " * 300]), created=1_700_000_000.25, ttl_seconds=3600.0, tags=("weather",)
)
RANDOM_BYTES = random.Random(7).randbytes(3000)  # noqa: S311 - no secret
HEAD = ">?dddQQQdHI"

counts = st.integers(min_value=0, max_value=2**64 - 1)
durations = st.floats(min_value=0, allow_nan=False)
entries = st.builds(
    Entry,
    events=st.lists(st.one_of(st.binary(max_size=200), st.just(b"x" * 2000)), max_size=20).map(Events.of),
    created=st.floats(allow_nan=False),
    ttl_seconds=durations,
    stale_seconds=durations,
    generation=counts,
    tags=st.lists(st.text(max_size=64), max_size=16).map(tuple),
    worth=st.builds(Worth, input_tokens=counts, output_tokens=counts, cost_usd=st.floats(allow_nan=False)),
)


@given(key=st.text(), entry=entries, compress=st.booleans())
def test_an_entry_comes_back_as_it_was(key: str, entry: Entry, compress: bool) -> None:
    assert decode(key, encode(key, entry, compress=compress)) == entry


@pytest.mark.parametrize("entry", [SMALL, COMPRESSIBLE], ids=["plain", "compressed"])
def test_a_change_of_any_one_byte_is_detected(entry: Entry) -> None:
    data = encode(KEY, entry, compress=True)
    for position in range(len(data)):
        for flipped_bits in (0x01, 0x80, 0xFF):
            corrupt = bytearray(data)
            corrupt[position] ^= flipped_bits
            with pytest.raises(CorruptEntryError):
                decode(KEY, bytes(corrupt))


@pytest.mark.parametrize("entry", [SMALL, COMPRESSIBLE], ids=["plain", "compressed"])
def test_a_cut_or_lengthened_entry_is_detected(entry: Entry) -> None:
    data = encode(KEY, entry, compress=True)
    for wrong in [*(data[:length] for length in range(len(data))), data + b"\x00", b"\x00" + data]:
        with pytest.raises(CorruptEntryError):
            decode(KEY, wrong)


@given(data=st.binary(max_size=300))
def test_foreign_bytes_are_detected(data: bytes) -> None:
    with pytest.raises(CorruptEntryError):
        decode(KEY, data)


@pytest.mark.parametrize("version", [0, 1, 3, 255])
def test_another_version_of_the_format_is_not_read(version: int) -> None:
    with pytest.raises(CorruptEntryError, match=f"version {version} "):
        decode(KEY, bytes([version]) + encode(KEY, SMALL, compress=True)[1:])


def test_an_entry_is_corrupt_under_another_key() -> None:
    data = encode(KEY, SMALL, compress=True)
    with pytest.raises(CorruptEntryError):
        decode(KEY.replace("acme", "rival"), data)


def entry_of(event: bytes) -> Entry:
    return Entry(events=Events.of([event]), created=1_700_000_000.25, ttl_seconds=3600.0)


def saved_bytes(entry: Entry) -> int:
    """How much smaller compression makes the entry."""
    return len(encode(KEY, entry, compress=False)) - len(encode(KEY, entry, compress=True))


def test_a_body_is_compressed_when_it_is_larger_than_a_kilobyte() -> None:
    largest = b"x" * (COMPRESSED_FROM_BYTES - 3)
    assert event_bytes(largest) == COMPRESSED_FROM_BYTES
    assert saved_bytes(entry_of(largest)) == 0
    assert saved_bytes(entry_of(largest + b"x")) > 900


def test_a_body_that_compression_would_make_larger_is_left_as_it_is() -> None:
    assert saved_bytes(entry_of(RANDOM_BYTES)) == 0


def test_nothing_is_compressed_where_the_policy_does_not_say_so() -> None:
    assert len(encode(KEY, COMPRESSIBLE, compress=False)) > COMPRESSIBLE.size_bytes


def forged(body: bytes, *, compressed: bool, tags_bytes: int = 0, body_bytes: int | None = None) -> bytes:
    """What somebody can write who knows the format: the seal is good."""
    size_bytes = len(body) if body_bytes is None else body_bytes
    sealed = struct.pack(HEAD, compressed, 1000.0, 60.0, 0.0, 0, 0, 0, 0.0, tags_bytes, size_bytes) + body
    digest = hashlib.blake2b(KEY.encode() + b"\n" + sealed, digest_size=16).digest()
    return b"\x02" + digest + sealed


def frame_that_claims(size_bytes: int) -> bytes:
    """A zstd frame of one segment that says it holds so much, with an empty last block."""
    magic, one_segment_and_long_size, last_raw_block = b"\x28\xb5\x2f\xfd", b"\xe0", b"\x01\x00\x00"
    return magic + one_segment_and_long_size + struct.pack("<Q", size_bytes) + last_raw_block


PACKED = Events.of([b"x" * 2997]).packed
FRAME = zstandard.compress(PACKED)


def test_what_these_tests_forge_would_be_read_if_it_were_not_hostile() -> None:
    assert len(PACKED) == 3000
    assert decode(KEY, forged(PACKED, compressed=False)).events.packed == PACKED
    assert decode(KEY, forged(FRAME, compressed=True, body_bytes=3000)).events.packed == PACKED
    assert decode(KEY, forged(PACKED, compressed=False, tags_bytes=3000)).tags == ("x" * 2997,)


@pytest.mark.parametrize(
    "hostile",
    [
        forged(frame_that_claims(2**32 - 1), compressed=True, body_bytes=2**32 - 1),
        forged(frame_that_claims(2**63), compressed=True, body_bytes=3000),
        forged(
            zstandard.compress(bytes(COMPRESSED_MAX_BYTES + 1)), compressed=True, body_bytes=COMPRESSED_MAX_BYTES + 1
        ),
        forged(zstandard.compress(bytes(10**8)), compressed=True, body_bytes=3000),
        forged(zstandard.ZstdCompressor(write_content_size=False).compress(bytes(10**8)), compressed=True),
        forged(b"\x0a\xff\xff\xff\xff\x0f", compressed=False),
        forged(b"\x0a\xff\xff\xff\xff\x0f", compressed=False, tags_bytes=6),
    ],
    ids=["claims 4 GB", "claims exabytes", "too large", "lies", "says nothing", "4 GB event", "4 GB tag"],
)
def test_bytes_that_ask_for_much_memory_are_corrupt_and_get_none(hostile: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CorruptEntryError):
            decode(KEY, hostile)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 1_000_000


@pytest.mark.parametrize(
    "wrong",
    [
        forged(FRAME + b"more", compressed=True, body_bytes=3000),
        forged(FRAME[:-1], compressed=True, body_bytes=3000),
        forged(b"no frame", compressed=True),
        forged(PACKED, compressed=False, body_bytes=3001),
        forged(PACKED + b"more", compressed=False),
        forged(PACKED[:-1], compressed=False),
        forged(zstandard.compress(PACKED[:-1]), compressed=True, body_bytes=2999),
        forged(PACKED, compressed=False, tags_bytes=1),
        forged(PACKED, compressed=False, tags_bytes=3001),
        forged(b"\x0a\x01\xff", compressed=False, tags_bytes=3),
    ],
)
def test_a_good_seal_around_a_wrong_body_is_corrupt(wrong: bytes) -> None:
    with pytest.raises(CorruptEntryError):
        decode(KEY, wrong)
