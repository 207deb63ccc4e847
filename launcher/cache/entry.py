"""An entry of the cache as each level has it, for people and as JSON for programs."""

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from launcher.cache.stats import worth_object
from launcher.columns import aligned
from shoal.cache.v1.cache_pb2 import GetResponse, StoredEntry


def as_text(found: GetResponse, *, events: bool) -> str:
    """A paragraph for each level; with `events` the events of the nearest one after it, one JSON value a line."""
    paragraphs = [_paragraph(entry) for entry in found.entries]
    paragraphs += [f"{level}: could not be asked" for level in found.failed_levels]
    if events and found.entries:
        paragraphs.append("\n".join(json.dumps(_event(event), ensure_ascii=False) for event in found.entries[0].events))
    return "\n\n".join(paragraphs)


def as_json(found: GetResponse, *, events: bool) -> str:
    """One object: `entries`, nearest level first, and `failed_levels`."""
    entries = [_object(entry) | ({"events": _events(entry)} if events else {}) for entry in found.entries]
    return json.dumps({"entries": entries, "failed_levels": list(found.failed_levels)}, indent=2, ensure_ascii=False)


def _paragraph(entry: StoredEntry) -> str:
    found = ", no look-up finds it" if entry.invalidated else ""
    return f"{entry.level}: {_state(entry)}{found}\n" + aligned(_facts(entry))


def _facts(entry: StoredEntry) -> Iterator[Sequence[str]]:
    worth = entry.worth
    yield "  age", f"{entry.age_seconds:,.1f} s"
    if not entry.invalidated:
        yield "  fresh for", f"{_fresh_for(entry):,.1f} s"
        yield "  stale for", f"{_stale_for(entry):,.1f} s" + (" after that" if _fresh_for(entry) else "")
    yield "  size", f"{entry.size_bytes:,} bytes, {len(entry.events):,} events"
    yield "  tags", ", ".join(entry.tags) or "none"
    yield "  generation", str(entry.generation)
    yield "  worth", f"{worth.input_tokens:,} tokens in, {worth.output_tokens:,} out, ${worth.cost_usd:,.6f}"


def _object(entry: StoredEntry) -> dict[str, Any]:
    return {
        "level": entry.level,
        "state": _state(entry),
        "age_seconds": entry.age_seconds,
        "fresh_for_seconds": _fresh_for(entry),
        "stale_for_seconds": _stale_for(entry),
        "size_bytes": entry.size_bytes,
        "tags": list(entry.tags),
        "generation": entry.generation,
        "invalidated": entry.invalidated,
        "worth": worth_object(entry.worth),
    }


def _state(entry: StoredEntry) -> str:
    if entry.invalidated:
        return "invalidated"
    if _fresh_for(entry):
        return "fresh"
    return "stale" if _stale_for(entry) else "expired"


def _fresh_for(entry: StoredEntry) -> float:
    return 0.0 if entry.invalidated else max(0.0, entry.ttl_seconds - entry.age_seconds)


def _stale_for(entry: StoredEntry) -> float:
    """How long it is given out after it was fresh, or from now on if it is that no more."""
    if entry.invalidated:
        return 0.0
    return max(0.0, min(entry.stale_seconds, entry.ttl_seconds + entry.stale_seconds - entry.age_seconds))


def _events(entry: StoredEntry) -> list[Any]:
    return [_event(event) for event in entry.events]


def _event(event: bytes) -> Any:
    """What the agent keeps is msgpack; whatever else there is comes as {"base64": ...}."""
    try:
        return json.loads(msgspec.json.encode(msgspec.msgpack.decode(event)))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return {"base64": base64.b64encode(event).decode()}
