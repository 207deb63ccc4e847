"""The page of all results, of which each command writes its own section."""

import sys
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

PAGE = Path(__file__).resolve().parents[1] / "RESULTS.md"
RESULTS = PAGE.parent / "results"
"""Plots and raw numbers."""


option = click.option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    default=PAGE,
    show_default=False,
    help="The page to write to; plots and raw numbers go to `results` beside it.  [default: load/RESULTS.md]",
)
"""Of a command that writes a section."""


class BrokenPageError(ValueError):
    """A page has not both marks of a section once and in order."""


def command_line(module: str) -> str:
    """How this run was called."""
    return " ".join([f"python -m {module}", *sys.argv[1:]])


def publish(page: Path, name: str, results: object, *, text: str, draw: Callable[[Path], object]) -> str:
    """Draws the plots, keeps the numbers that they can be drawn from again, and writes the section of that name, which
    it returns. `draw` is given the folder. Raises BrokenPageError."""
    folder = page.parent / RESULTS.name
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder)
    (folder / f"{name}.json").write_bytes(msgspec.json.encode(results) + b"\n")
    replace_section(page, name, text)
    return text


def replace_section(page: Path, name: str, text: str) -> None:
    """Replaces what stands between the marks of that name; appends the section if the page has none of it.

    Raises BrokenPageError for a page on which one of the marks is missing or is there twice, and changes nothing then.
    """
    page.write_text(with_section(page.read_text() if page.exists() else "", name, text))


def with_section(page: str, name: str, text: str) -> str:
    """The same, of the text of a page."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    marks = (page.count(begin), page.count(end))
    if marks == (0, 0):
        return f"{page.rstrip()}\n\n{section}\n".lstrip()
    before, _, rest = page.partition(begin)
    _, mark, after = rest.partition(end)
    if marks != (1, 1) or not mark:
        raise BrokenPageError(f"the page needs `{begin}` and then `{end}`, once each: put them right by hand")
    return f"{before}{section}{after}"
