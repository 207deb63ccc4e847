"""What the results page says of several rounds of load on the front door."""

from pathlib import Path

import msgspec
import pytest

from load.front_door import plots
from load.front_door.measurement import in_turn
from load.front_door.protocols import Protocol
from load.front_door.results import Results, Row
from load.front_door.scenario import Callers, Scenario, Task
from load.front_door.summary import section

ASKERS = Callers(name="askers", at_once=4, tasks=[Task(words="Known.")])
KNOWN = Scenario(title="Known questions", shows="How they\nget on.", callers=[ASKERS])


def row(
    number: int,
    answered: int,
    *,
    replicas: int = 1,
    protocol: Protocol = "gRPC",
    p99_ms: float | None = 9.0,
    errors: dict[str, int] | None = None,
    admits: int = 1000,
) -> Row:
    return Row(
        round=number, scenario="known", model="simulated", replicas=replicas, protocol=protocol, callers="askers",
        tier="bench", at_once=4, seconds=2.0, answered=answered, errors=errors or {}, p50_ms=float(number), p95_ms=None,
        p99_ms=p99_ms, admits=admits,
    )  # fmt: skip


def results(*rows: Row) -> Results:
    return Results(
        command="python -m load.front_door", machine="A machine.", rounds=3, seconds=2, scenarios={"known": KNOWN},
        rows=list(rows),
    )  # fmt: skip


@pytest.mark.parametrize(("number", "order"), [(1, [1, 2, 3]), (2, [3, 2, 1]), (3, [1, 2, 3])])
def test_who_is_first_in_a_round_is_last_in_the_next(number: int, order: list[int]) -> None:
    assert in_turn([1, 2, 3], number) == order


def test_a_run_is_one_row_over_its_rounds_with_the_spread_of_its_answers_and_the_sum_of_its_errors() -> None:
    measured = results(
        row(1, 200, errors={"ResourceExhausted": 2}),
        row(2, 240, p99_ms=None, errors={"Unavailable": 1, "ResourceExhausted": 1}),
        row(3, 100, p99_ms=7.0),
    )
    assert (
        "| simulated | 1 | gRPC | askers | 4 | 100 | 50 | 120 | 2 | - | 8 | 540 "
        "| ResourceExhausted: 3, Unavailable: 1 | 3000 |\n\nHow they get on."
    ) in section(measured)


def test_runs_keep_the_order_of_the_first_round() -> None:
    text = section(results(row(1, 10), row(1, 20, protocol="REST"), row(2, 20, protocol="REST"), row(2, 10)))
    [grpc, rest] = [line for line in text.splitlines() if line.startswith("| simulated")]
    assert grpc.startswith("| simulated | 1 | gRPC | askers | 4 | 5 |")
    assert rest.startswith("| simulated | 1 | REST | askers | 4 | 10 |")


def test_the_growth_is_a_ratio_within_a_round() -> None:
    one = [row(1, 100), row(2, 200), row(3, 0)]
    three = [row(1, 300, replicas=3), row(2, 400, replicas=3), row(3, 50, replicas=3)]
    assert "| known | askers | 2.5 (2 to 3) |" in section(results(*one, *three))
    assert "| known | askers | - |" in section(results(row(1, 0), row(1, 50, replicas=3)))


def test_what_a_limit_let_pass_is_judged_by_run_and_not_by_the_sum_of_the_rounds() -> None:
    refused = {"ResourceExhausted": 30}
    text = section(results(row(1, 21, admits=20, errors=refused), row(2, 18, admits=20, errors=refused)))
    assert "in 2 runs: given more in 1 of them; the difference was -2 to +1 answers." in text


def test_the_numbers_of_each_round_are_kept() -> None:
    measured = results(row(1, 10), row(2, 20))
    assert msgspec.json.decode(msgspec.json.encode(measured), type=Results) == measured


def test_a_plot_shows_how_far_the_rounds_are_apart(tmp_path: Path) -> None:
    drawn = []
    for name, rates in (("alike", (20, 20, 20)), ("apart", (10, 20, 30))):
        plots.save(results(*(row(number, rate) for number, rate in enumerate(rates, 1))), tmp_path / name)
        drawn.append((tmp_path / name / "load-known.svg").read_bytes())
    assert drawn[0] != drawn[1]
