"""The processes of the mesh as a table and as JSON."""

import json
from typing import Any

import pytest

from launcher.control.fleet import ProcessRow
from launcher.fleet.listing import as_json, as_table

DEFAULTS: dict[str, Any] = {
    "name": "agent-1", "service": "agent", "pid": 4242, "port": 8121, "state": "ready", "in_envoy": "healthy",
    "running": 12, "waiting": 3, "slots": 128, "version": "0.1.0", "uptime_seconds": 75.9, "restarts": 0,
    "memory_bytes": 128 * 2**20,
}  # fmt: skip


def row(**fields: Any) -> ProcessRow:
    return ProcessRow(**{**DEFAULTS, **fields})


VALKEY = row(
    name="valkey-limits", service="valkey-limits", pid=17, in_envoy="", running=None, waiting=None, slots=None,
    version="", memory_bytes=None,
)  # fmt: skip
GATEWAY = row(name="gateway-1", service="gateway", running=7, waiting=0, slots=None)
DOWN = row(
    name="agent-2", pid=None, state="down", in_envoy="absent", running=None, waiting=None, slots=None,
    uptime_seconds=0.0, restarts=4, memory_bytes=None,
)  # fmt: skip


def cells(of: ProcessRow) -> list[str]:
    return as_table([of]).splitlines()[1].split()


def test_a_replica_is_shown_with_its_load_memory_and_version() -> None:
    assert cells(row()) == [
        "agent-1", "4242", "ready", "healthy", "12+3/128", "128", "MiB", "1m15s", "0", "0.1.0",
    ]  # fmt: skip


def test_without_slots_the_load_is_what_runs() -> None:
    assert cells(GATEWAY)[4] == "7"


def test_what_is_not_told_is_a_dash() -> None:
    assert cells(VALKEY) == ["valkey-limits", "17", "ready", "-", "-", "-", "1m15s", "0", "-"]
    assert cells(DOWN) == ["agent-2", "-", "down", "absent", "-", "-", "-", "4", "0.1.0"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (11_100, "3h05m"),
     (86_399, "23h59m"), (86_400, "1d00h"), (40 * 86_400, "40d00h")],
)  # fmt: skip
def test_the_uptime_is_in_its_two_largest_units(seconds: float, shown: str) -> None:
    assert cells(row(uptime_seconds=seconds))[7] == shown


def test_below_the_table_is_how_busy_the_pools_with_slots_are() -> None:
    draining = row(name="agent-3", state="draining", running=100)
    last = as_table([VALKEY, row(), row(name="agent-4", running=20, waiting=0), draining, DOWN, GATEWAY]).splitlines()[
        -1
    ]
    assert last == "agent: 2 ready, 32 running and 3 waiting on 256 slots (14%)"


def test_pools_without_slots_have_no_such_line() -> None:
    assert len(as_table([VALKEY, GATEWAY]).splitlines()) == 3


def test_a_line_fits_on_a_terminal_of_100_columns() -> None:
    wide = row(
        name="ratelimit-4", pid=4194304, state="draining", in_envoy="unhealthy", running=1000, waiting=64, slots=1000,
        memory_bytes=2**30 * 10, uptime_seconds=86_399, restarts=999, version="0.1.0.dev12",
    )  # fmt: skip
    assert max(map(len, as_table([wide, VALKEY]).splitlines())) <= 100


def test_programs_get_everything_and_null_for_what_is_not_told() -> None:
    replica, valkey = json.loads(as_json([row(), VALKEY]))
    assert replica == DEFAULTS
    assert valkey["running"] is None
    assert valkey["in_envoy"] == ""
