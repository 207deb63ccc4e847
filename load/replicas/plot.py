"""The plot of replicas: throughput against the ideal line, and p99 beside it."""

from pathlib import Path

from load.plots import figure
from load.replicas.results import FULL, MODEL_SECONDS, SLOTS, Results

TITLE = f"Replicas of {SLOTS} slots behind Envoy, a model of {1000 * MODEL_SECONDS:g} ms"


def draw(results: Results, folder: Path) -> None:
    """Writes replicas.svg and replicas.png."""
    made, (throughput, latency) = figure.figure(TITLE, columns=2)
    counts = sorted({cell.replicas for cell in results.cells})
    ideal = [count * SLOTS / MODEL_SECONDS for count in counts]
    rates = _lines(results, "calls_per_second")
    figure.lines(throughput, counts, rates, x_label="replicas", unit="calls/s", ideal=ideal)
    figure.lines(latency, counts, _lines(results, "p99_ms"), x_label="replicas", unit="p99, ms")
    if direct := results.without_envoy(FULL):
        name, number = f"{FULL.name}, without Envoy", len(results.series)
        figure.point(throughput, name, 1, direct.values("calls_per_second"), number=number)
        figure.point(latency, name, 1, direct.values("p99_ms"), number=number)
    figure.note(
        made, "On two cores: replicas wait for their model and do not compute. Ideal: all slots, 500 ms a call."
    )
    figure.save(made, folder, "replicas")


def _lines(results: Results, name: str) -> dict[str, list[list[float]]]:
    return {series.name: [cell.values(name) for cell in results.through_envoy(series)] for series in results.series}
