"""An entry: until when it is fresh, stale and an answer at all, how old it is, and how large."""

from dataclasses import replace

from services.cache.entry import Entry
from services.cache.events import Events

ENTRY = Entry(events=Events.of([b"one", b"", b"three"]), created=1000.0, ttl_seconds=60.0, stale_seconds=20.0)


def test_an_entry_is_fresh_for_its_time_to_live_then_stale_then_no_answer() -> None:
    moments = (1000.0, 1059.999, 1060.0, 1079.999, 1080.0)
    assert [ENTRY.is_live(now) for now in moments] == [True, True, True, True, False]
    assert [ENTRY.is_stale(now) for now in moments] == [False, False, True, True, False]


def test_an_entry_without_stale_time_is_never_stale() -> None:
    entry = Entry(events=Events.of([]), created=1000.0, ttl_seconds=60.0)
    assert entry.expires == entry.fresh_until == 1060.0
    assert not any(entry.is_stale(now) for now in (1000.0, 1059.999, 1060.0, 1061.0))


def test_the_newer_of_two_is_that_of_the_later_generation_and_else_the_one_made_later() -> None:
    later = replace(ENTRY, created=1001.0)
    next_generation = replace(ENTRY, created=990.0, generation=1)
    in_order = [ENTRY, later, next_generation]
    newer = [[one.is_newer_than(other) for other in in_order] for one in in_order]
    assert newer == [[False, False, False], [True, False, False], [True, True, False]]


def test_what_is_computed_replaces_all_but_a_later_generation_and_what_is_promoted_nothing_newer() -> None:
    later = replace(ENTRY, created=1001.0)
    next_generation = replace(ENTRY, created=990.0, generation=1)
    others = [ENTRY, later, next_generation]
    assert [ENTRY.may_replace(here, promoted=False) for here in others] == [True, True, False]
    assert [ENTRY.may_replace(here, promoted=True) for here in others] == [True, False, False]
    assert all(next_generation.may_replace(here, promoted=promoted) for here in others for promoted in (False, True))


def test_the_age_is_never_negative() -> None:
    assert ENTRY.age_seconds(1007.5) == 7.5
    assert ENTRY.age_seconds(990.0) == 0.0


def test_the_size_is_that_of_the_events_and_what_stands_before_each() -> None:
    assert ENTRY.size_bytes == 8 + 3 * 2
    assert Entry(events=Events.of([]), created=1000.0, ttl_seconds=60.0).size_bytes == 0
