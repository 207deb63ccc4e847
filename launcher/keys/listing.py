"""API keys as a table for people and as JSON for programs. The secret is in neither: nobody has it."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from launcher.columns import aligned
from shoal.ratelimit.v1.ratelimit_pb2 import ApiKey

_COLUMNS = ("id", "tenant", "tier", "created", "revoked", "name")


def as_table(keys: Iterable[ApiKey]) -> str:
    """A header and one line for each key, in aligned columns."""
    return aligned([_COLUMNS, *([row[column] or "-" for column in _COLUMNS] for row in map(_row, keys))])


def as_json(keys: Iterable[ApiKey]) -> str:
    """A list of objects. Times are UTC in ISO 8601; `revoked` is null while a key is good."""
    return json.dumps([_row(key) for key in keys], indent=2)


def _row(key: ApiKey) -> dict[str, str | None]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "tier": key.tier,
        "created": _time(key.created.seconds),
        "revoked": _time(key.revoked.seconds) if key.HasField("revoked") else None,
        "name": key.name,
    }


def _time(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat()
