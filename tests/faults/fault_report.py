"""What each fault cost those who had nothing to do with it: the lines of the report."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class FaultLine:
    """Gaps between deltas of streams of other callers, before and during a fault."""

    fault: str
    quiet_p99_ms: float
    during_p99_ms: float
    ratio: float
    streams: int
    """How many of them ended during the fault."""
    refused: int
    """How many were turned away before they began, and came back."""


def report_lines(lines: Iterable[FaultLine]) -> list[str]:
    """A table for people."""
    head = f"{'fault':<58} {'quiet p99':>10} {'during p99':>11} {'ratio':>6} {'streams':>8} {'refused':>8}"
    rows = [
        f"{line.fault:<58} {line.quiet_p99_ms:>7.1f} ms {line.during_p99_ms:>8.1f} ms {line.ratio:>6.2f}"
        f" {line.streams:>8} {line.refused:>8}"
        for line in lines
    ]
    return [head, *rows]


def write_report(lines: Iterable[FaultLine], file: Path) -> None:
    """The same as JSON: a list of objects."""
    file.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n")


REPORT = pytest.StashKey[list[FaultLine]]()
"""Where pytest keeps the lines of a run."""
