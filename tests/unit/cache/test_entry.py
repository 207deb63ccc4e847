"""The binary form of an entry: what goes in comes out, and nothing else ever does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cache.entry import Entry, UnreadableEntryError, decode, encode

KEY = "acme/response/" + "0a" * 32
ENTRY = Entry(events=(b"first", b"", b"\x00\xff" * 20), created=1_700_000_000.25, ttl_seconds=3600.0)

entries = st.builds(
    Entry,
    events=st.lists(st.binary(max_size=200), max_size=20).map(tuple),
    created=st.floats(allow_nan=False),
    ttl_seconds=st.floats(min_value=0, allow_nan=False),
)


@given(key=st.text(), entry=entries)
def test_an_entry_comes_back_as_it_was(key: str, entry: Entry) -> None:
    assert decode(key, encode(key, entry)) == entry


@given(entry=entries)
def test_the_size_is_the_length_of_the_binary_form(entry: Entry) -> None:
    assert entry.size_bytes == len(encode(KEY, entry))


def test_a_change_of_any_one_byte_is_detected() -> None:
    data = encode(KEY, ENTRY)
    for position in range(len(data)):
        for flipped_bits in (0x01, 0x80, 0xFF):
            corrupt = bytearray(data)
            corrupt[position] ^= flipped_bits
            with pytest.raises(UnreadableEntryError):
                decode(KEY, bytes(corrupt))


def test_a_cut_or_lengthened_entry_is_detected() -> None:
    data = encode(KEY, ENTRY)
    for wrong in [*(data[:length] for length in range(len(data))), data + b"\x00", b"\x00" + data]:
        with pytest.raises(UnreadableEntryError):
            decode(KEY, wrong)


@given(data=st.binary(max_size=300))
def test_foreign_bytes_are_detected(data: bytes) -> None:
    with pytest.raises(UnreadableEntryError):
        decode(KEY, data)


def test_an_entry_is_unreadable_under_another_key() -> None:
    data = encode(KEY, ENTRY)
    with pytest.raises(UnreadableEntryError):
        decode(KEY.replace("acme", "rival"), data)


def test_an_entry_lives_until_its_expiry_and_not_at_it() -> None:
    entry = Entry(events=(), created=1000.0, ttl_seconds=60.0)
    assert entry.is_live(1059.999)
    assert not entry.is_live(1060.0)


def test_the_age_is_never_negative() -> None:
    entry = Entry(events=(), created=1000.0, ttl_seconds=60.0)
    assert entry.age_seconds(1007.5) == 7.5
    assert entry.age_seconds(990.0) == 0.0
