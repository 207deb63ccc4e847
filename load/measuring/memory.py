"""The memory that a process takes."""

from pathlib import Path


def pss_bytes(pid: int) -> int:
    """Its proportional set size. Raises OSError if there is no such process, or no Linux."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
