"""An answer while it is handed in."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from services.cache.draft import Draft
from services.cache.events import Events, event_bytes


def test_events_are_kept_in_order() -> None:
    draft = Draft(max_bytes=1000)
    draft.append([b"one", b"two"])
    draft.append([b"three"])
    assert list(draft.events) == [b"one", b"two", b"three"]


def test_an_answer_of_exactly_the_limit_is_kept_and_one_byte_more_is_not() -> None:
    limit = event_bytes(b"12345")
    for event, kept in ((b"12345", True), (b"123456", False)):
        draft = Draft(max_bytes=limit)
        draft.append([event])
        assert draft.fits is kept


def test_past_the_limit_no_bytes_are_held() -> None:
    for keeps_last in (None, 100):
        tracemalloc.start()
        try:
            draft = Draft(max_bytes=100_000, keeps_last=keeps_last)
            draft.append([bytes(90_000)])
            draft.append(bytes(90_000) for _ in range(3))
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert not draft.fits
        assert held < 50_000


def test_of_a_long_context_the_last_events_are_kept() -> None:
    draft = Draft(max_bytes=3 * event_bytes(b"1"), keeps_last=3)
    draft.append([b"1", b"2"])
    draft.append([b"3", b"4", b"5"])
    assert list(draft.events) == [b"3", b"4", b"5"]
    assert draft.size_bytes == 3 * event_bytes(b"1")
    assert draft.fits


def test_what_once_was_too_large_does_not_come_back_in_part() -> None:
    draft = Draft(max_bytes=20, keeps_last=2)
    draft.append([bytes(100)])
    draft.append([b""] * 10)
    assert not draft.fits


batches_of_events = st.lists(st.lists(st.binary(max_size=50), max_size=5), max_size=10)


@given(batches=batches_of_events, limit=st.integers(0, 1000))
def test_what_is_kept_is_the_whole_answer_or_nothing(batches: list[list[bytes]], limit: int) -> None:
    draft = Draft(max_bytes=limit)
    for batch in batches:
        draft.append(batch)
    whole = [event for batch in batches for event in batch]
    assert draft.size_bytes == sum(map(event_bytes, whole))
    assert draft.fits == (draft.size_bytes <= limit)
    if draft.fits:
        assert draft.events == Events.of(whole)
        assert draft.events.size_bytes == draft.size_bytes


@given(batches=batches_of_events, limit=st.integers(0, 300), keeps_last=st.integers(1, 6))
def test_what_fits_at_every_moment_is_kept(batches: list[list[bytes]], limit: int, keeps_last: int) -> None:
    draft = Draft(max_bytes=limit, keeps_last=keeps_last)
    whole: list[bytes] = []
    fitted = True
    for event in (event for batch in batches for event in batch):
        draft.append([event])
        whole.append(event)
        fitted &= sum(map(event_bytes, whole[-keeps_last:])) <= limit
        assert draft.fits is fitted
        if fitted:
            assert draft.events == Events.of(whole[-keeps_last:])
