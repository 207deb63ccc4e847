"""API keys as a table and as JSON."""

import json

from google.protobuf.timestamp_pb2 import Timestamp

from launcher.keys.listing import as_json, as_table
from shoal.ratelimit.v1.ratelimit_pb2 import ApiKey

GOOD = ApiKey(id="key_1", tenant="acme", tier="basic", name="the app", created=Timestamp(seconds=0))
REVOKED = ApiKey(id="key_22", tenant="o", tier="premium", created=GOOD.created, revoked=Timestamp(seconds=3600))


def test_the_columns_of_the_table_are_aligned() -> None:
    header, *rows = as_table([GOOD, REVOKED]).splitlines()
    for title, cells in {"tenant": ("acme", "o"), "tier": ("basic", "premium"), "name": ("the app", "-")}.items():
        assert tuple(row[header.index(title) :].startswith(cell) for row, cell in zip(rows, cells, strict=True)) == (
            True,
            True,
        )


def test_the_table_tells_good_keys_from_revoked_ones() -> None:
    _, good, revoked = as_table([GOOD, REVOKED]).splitlines()
    assert "1970-01-01T01:00:00" not in good
    assert "1970-01-01T01:00:00" in revoked


def test_no_keys_are_a_header_alone() -> None:
    assert len(as_table([]).splitlines()) == 1


def test_json_holds_times_in_utc_and_null_for_a_good_key() -> None:
    good, revoked = json.loads(as_json([GOOD, REVOKED]))
    assert good == {
        "id": "key_1",
        "tenant": "acme",
        "tier": "basic",
        "created": "1970-01-01T00:00:00+00:00",
        "revoked": None,
        "name": "the app",
    }
    assert revoked["revoked"] == "1970-01-01T01:00:00+00:00"
