"""An answer while it is handed in."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from services.cache.draft import Draft
from services.cache.entry import EMPTY_BYTES, Entry, encode, event_bytes


def test_events_are_kept_in_order() -> None:
    draft = Draft(max_bytes=1000)
    draft.append([b"one", b"two"])
    draft.append([b"three"])
    assert draft.complete(now=1000.0, ttl_seconds=60.0) == Entry((b"one", b"two", b"three"), 1000.0, 60.0)


def test_an_answer_of_exactly_the_limit_is_kept_and_one_byte_more_is_not() -> None:
    limit = EMPTY_BYTES + event_bytes(b"12345")
    for event, kept in ((b"12345", True), (b"123456", False)):
        draft = Draft(max_bytes=limit)
        draft.append([event])
        assert draft.fits is kept
        assert (draft.complete(now=0.0, ttl_seconds=1.0) is not None) is kept


def test_past_the_limit_no_bytes_are_held() -> None:
    tracemalloc.start()
    try:
        draft = Draft(max_bytes=100_000)
        draft.append([bytes(90_000)])
        draft.append(bytes(90_000) for _ in range(3))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not draft.fits
    assert held < 50_000


@given(batches=st.lists(st.lists(st.binary(max_size=50), max_size=5), max_size=10), limit=st.integers(0, 1000))
def test_what_is_kept_is_the_whole_answer_or_nothing(batches: list[list[bytes]], limit: int) -> None:
    draft = Draft(max_bytes=limit)
    for batch in batches:
        draft.append(batch)
    whole = Entry(tuple(event for batch in batches for event in batch), 5.0, 60.0)
    assert draft.size_bytes == len(encode("key", whole))
    assert draft.complete(now=5.0, ttl_seconds=60.0) == (whole if draft.size_bytes <= limit else None)
