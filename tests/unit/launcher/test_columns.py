"""Rows of text as aligned columns."""

from launcher.columns import aligned

ROWS = [("name", "hits", "size"), ("l1", "1,000", "7"), ("conversation", "2", "")]


def test_words_begin_at_the_left_and_numbers_end_at_the_right() -> None:
    assert aligned(ROWS, words=1).splitlines() == [
        "name           hits  size",
        "l1            1,000     7",
        "conversation      2",
    ]


def test_by_default_all_are_words() -> None:
    assert aligned(ROWS).splitlines()[1] == "l1            1,000  7"
