"""Tables of measurements."""

import pytest

from load.measuring.report import Table, percentile, spread, text


def test_a_table_is_markdown_with_its_title_and_its_note() -> None:
    table = Table("Speed", ("what", "calls/s"), note="Nothing else ran.")
    table.rows.append(("limiter", 4321.987))
    assert table.markdown() == (
        "### Speed\n\n| what | calls/s |\n| --- | --- |\n| limiter | 4322 |\n\nNothing else ran."
    )


@pytest.mark.parametrize(
    ("cell", "shown"), [(0.70449, "0.704"), (12.34, "12.3"), (999.9, "1000"), (1234.6, "1235"), (70, "70"), ("a", "a")]
)
def test_numbers_are_short_and_never_less_than_whole(cell: str | float, shown: str) -> None:
    assert text(cell) == shown


def test_the_spread_is_median_lowest_highest() -> None:
    assert spread([3, 1, 2, 10]) == (2.5, 1, 10)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.5) == 51
    assert percentile(values, 0.99) == 100
    assert percentile(values, 1) == 100


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
