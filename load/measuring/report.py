"""What was measured, as Markdown, with the machine and the commit that it was measured on."""

import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]

Cell = str | int | float


@dataclass(slots=True)
class Table:
    """A table with a title; below it may be a sentence that says what a reader must know."""

    title: str
    columns: Sequence[str]
    note: str = ""
    rows: list[Sequence[Cell]] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *([text(cell) for cell in row] for row in self.rows)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join(part for part in (f"### {self.title}", table, self.note) if part)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, lowest, highest."""
    return statistics.median(values), min(values), max(values)


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` of the values (0 to 1) do not exceed. Raises ValueError without values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there are no values")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def text(cell: Cell) -> str:
    """Three digits of a fraction, all digits of what is large or whole."""
    if isinstance(cell, float):
        return f"{cell:.3g}" if abs(cell) < 100 else f"{cell:.0f}"
    return str(cell)


def provenance() -> str:
    """The machine, the Python and the commit, in one sentence."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    machine = f"{os.cpu_count()} cores of {_processor()}, {memory:.0f} GB, {platform.system()} {platform.release()}"
    return f"{machine}, Python {platform.python_version()}, commit {_commit()}, {datetime.now(UTC):%Y-%m-%d}."


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    commit = _output([git, "rev-parse", "--short", "HEAD"])
    return f"{commit} with changes" if _output([git, "status", "--porcelain"]) else commit or "unknown"


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False).stdout.strip()
