"""Rows of text as aligned columns."""

from collections.abc import Iterable, Sequence


def aligned(rows: Iterable[Sequence[str]], *, words: int | None = None) -> str:
    """One line for each row. The first `words` columns begin at the left (all, by default), others end at the right."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(_line(row, widths, len(widths) if words is None else words) for row in table)


def _line(row: Sequence[str], widths: Sequence[int], words: int) -> str:
    cells = zip(row, widths, strict=True)
    justified = [cell.ljust(width) if at < words else cell.rjust(width) for at, (cell, width) in enumerate(cells)]
    return "  ".join(justified).rstrip()
