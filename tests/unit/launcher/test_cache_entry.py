"""An entry of the cache, for people and for programs."""

import json
from typing import Any

import msgspec
import pytest

from launcher.cache import entry as cache_entry
from shoal.cache.v1 import cache_pb2


def entry(**facts: Any) -> cache_pb2.StoredEntry:
    usual = {"level": "l1", "events": [b"x"], "age_seconds": 10, "ttl_seconds": 100, "stale_seconds": 60}
    return cache_pb2.StoredEntry(**{**usual, **facts})


def text(*entries: cache_pb2.StoredEntry, events: bool = False) -> str:
    return cache_entry.as_text(cache_pb2.GetResponse(entries=entries), events=events)


def told(*entries: cache_pb2.StoredEntry, events: bool = False) -> dict[str, Any]:
    objects: dict[str, Any] = json.loads(
        cache_entry.as_json(cache_pb2.GetResponse(entries=entries, failed_levels=["l3"]), events=events)
    )
    return objects


def test_a_person_sees_every_fact_of_every_level() -> None:
    worth = cache_pb2.Worth(input_tokens=1200, output_tokens=34, cost_usd=0.25)
    shown = text(
        entry(size_bytes=5000, tags=["a", "b"], generation=77, worth=worth),
        entry(level="l2", invalidated=True),
    )
    first, second = shown.split("\n\n")
    assert first.splitlines()[0] == "l1: fresh"
    for fact in ("10.0 s", "90.0 s", "60.0 s after that", "5,000 bytes, 1 events", "a, b", "77", "1,200", "$0.250000"):
        assert fact in first
    assert second.startswith("l2: invalidated, no look-up finds it\n")


def test_what_is_invalidated_is_not_said_to_be_fresh_or_given_out() -> None:
    shown = text(entry(invalidated=True))
    assert "10.0 s" in shown
    assert "fresh for" not in shown
    assert "stale for" not in shown
    [found] = told(entry(invalidated=True))["entries"]
    assert (found["state"], found["fresh_for_seconds"], found["stale_for_seconds"]) == ("invalidated", 0, 0)


def test_levels_that_could_not_be_asked_are_named() -> None:
    found = cache_pb2.GetResponse(failed_levels=["l2"])
    assert cache_entry.as_text(found, events=True) == "l2: could not be asked"


@pytest.mark.parametrize(
    ("age", "state", "fresh", "stale"),
    [(99, "fresh", 1, 60), (100, "stale", 0, 60), (159, "stale", 0, 1), (160, "expired", 0, 0)],
)
def test_the_state_follows_from_the_age(age: float, state: str, fresh: float, stale: float) -> None:
    [found] = told(entry(age_seconds=age))["entries"]
    assert (found["state"], found["fresh_for_seconds"], found["stale_for_seconds"]) == (state, fresh, stale)


def test_events_are_shown_as_json_lines_only_if_asked_for() -> None:
    events = [msgspec.msgpack.encode({"type": "delta", "text": "grüß\n"}), b"\xc1 no msgpack"]
    assert "delta" not in text(entry(events=events))
    first, second = text(entry(events=events), events=True).splitlines()[-2:]
    assert json.loads(first) == {"type": "delta", "text": "grüß\n"}
    assert json.loads(second) == {"base64": "wSBubyBtc2dwYWNr"}
    assert "events" not in told(entry(events=events))["entries"][0]
    assert told(entry(events=events), events=True)["entries"][0]["events"] == [json.loads(first), json.loads(second)]


@pytest.mark.parametrize(
    "event", [b"", b"\x91" * 5000, b"\xa1\xff", b"\x93\x01", b"\x01\x02", b"\xd4\x05\x01", b"\x81\x90\x01"]
)
def test_no_bytes_are_too_strange_to_be_shown(event: bytes) -> None:
    shown = text(entry(events=[event]), events=True).splitlines()[-1]
    assert set(json.loads(shown)) == {"base64"}


def test_programs_are_told_the_levels_that_failed() -> None:
    assert told()["failed_levels"] == ["l3"]
