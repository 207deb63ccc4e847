"""The page of all results, of which each command writes its own section."""

from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "RESULTS.md"
RESULTS = PAGE.parent / "results"
"""Plots and raw numbers."""


class BrokenPageError(ValueError):
    """A page has not both marks of a section once and in order."""


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
