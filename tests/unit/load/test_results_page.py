"""The page of all results keeps what is not replaced."""

from pathlib import Path

import msgspec
import pytest

from load.measuring.results_page import BrokenPageError, publish, with_section

PAGE = "# Results\n\nBefore.\n\n<!-- begin: soak -->\nold\n<!-- end: soak -->\n\nAfter.\n"


def test_a_section_is_replaced_and_all_around_it_stays() -> None:
    assert with_section(PAGE, "soak", "new\n") == PAGE.replace("old", "new")


def test_a_section_that_is_not_there_is_appended() -> None:
    page = with_section(PAGE, "load", "numbers")
    assert page == f"{PAGE}\n<!-- begin: load -->\nnumbers\n<!-- end: load -->\n"


def test_a_page_begins_with_its_first_section() -> None:
    assert with_section("", "load", "numbers") == "<!-- begin: load -->\nnumbers\n<!-- end: load -->\n"


def test_replacing_twice_is_replacing_once() -> None:
    once = with_section(PAGE, "load", "numbers")
    assert with_section(once, "load", "numbers") == once


@pytest.mark.parametrize(
    "broken",
    [
        PAGE.replace("<!-- end: soak -->", ""),
        PAGE.replace("<!-- begin: soak -->", ""),
        PAGE + PAGE,
        "<!-- end: soak -->\n<!-- begin: soak -->\n",
    ],
)
def test_a_page_with_broken_marks_is_not_touched(broken: str) -> None:
    with pytest.raises(BrokenPageError, match="soak"):
        with_section(broken, "soak", "new")


def test_what_is_published_is_on_the_page_with_plots_and_numbers_beside_it(tmp_path: Path) -> None:
    page, drawn_in = tmp_path / "RESULTS.md", list[Path]()
    assert publish(page, "soak", {"rounds": [1, 2]}, text="All was flat.", draw=drawn_in.append) == "All was flat."
    assert page.read_text() == "<!-- begin: soak -->\nAll was flat.\n<!-- end: soak -->\n"
    assert drawn_in == [tmp_path / "results"]
    assert msgspec.json.decode((tmp_path / "results" / "soak.json").read_bytes()) == {"rounds": [1, 2]}
