"""What is said of replicas follows from the runs."""

import pytest

from load.measuring.generator import MeasurementError
from load.measuring.speed import Outcome
from load.replicas.report import findings
from load.replicas.results import FULL, LIGHT, Cell, Results, Run, ratios


def run(rate: float, p99_ms: float, errors: dict[str, int] | None = None) -> Run:
    return Run(rate, 500.0, 900.0, p99_ms, 100, errors or {})


def results(*cells: Cell) -> Results:
    return Results("python -m load.replicas", "somewhere", 2, 20, list(cells))


def test_ratios_are_of_the_same_round() -> None:
    one, three = (Cell(FULL, count, False, [run(rate, 1000) for rate in rates]) for count, rates in
                  ((1, (10, 16)), (3, (30, 40))))  # fmt: skip
    assert ratios(three, one) == [3.0, 2.5]


@pytest.mark.parametrize(
    ("rate", "p99_ms", "expected"),
    [
        (45.6, 1050, ["2.85 times", "; met); their p99 is 1.05", "here; met)"]),
        (45.5, 1060, ["2.84 times", "; missed); their p99 is 1.06", "here; missed)"]),
    ],
)
def test_three_replicas_are_held_against_the_aims(rate: float, p99_ms: float, expected: list[str]) -> None:
    said = findings(results(Cell(FULL, 1, False, [run(16, 1000)]), Cell(FULL, 3, False, [run(rate, p99_ms)])))
    assert [part for part in expected if part in said] == expected


def test_errors_are_told_by_their_kind() -> None:
    cells = [Cell(FULL, count, False, [run(16, 1000, {"Unavailable": count})]) for count in (1, 2)]
    assert "Errors: 3 Unavailable." in findings(results(*cells))


def test_the_price_of_the_front_door_is_that_of_calls_that_do_not_wait() -> None:
    direct = Cell(LIGHT, 1, True, [Run(12, 505.0, 510, 520, 100, {})])
    behind = Cell(LIGHT, 1, False, [Run(12, 509.5, 512, 530, 100, {})])
    assert "add 4.5 ms" in findings(results(direct, behind))


def test_a_run_without_percentiles_is_no_run() -> None:
    with pytest.raises(MeasurementError, match="more --seconds"):
        Run.of(Outcome(1.0, 50, {}, 500.0, 510.0, None))
