"""What is told of the hops."""

from load.hops import report
from load.hops.cpu import SERVICES
from load.hops.results import Cpu, Latency, Results

TIMES = dict.fromkeys(SERVICES, 0.01) | {"Envoy": 100.0, "gateway": 300.0, "limiter": 200.0, "load generator": 400.0}
RESULTS = Results(
    command="python -m load.hops",
    provenance="A machine.",
    requests=20,
    seconds=2,
    callers=4,
    cores=2,
    model="a mock",
    latency=[
        Latency(
            case="REST, cached",
            requests=20,
            incomplete=0,
            hops={"limiter": 1.0, "gateway": 0.5, "agent": 0.0},
            p50_ms=1.75,
            p50_without_spans_ms=1.25,
        )
    ],
    cpu=[Cpu(case="REST, cached", requests_per_second=1500.0, errors={"503": 2}, microseconds=TIMES)],
    replicas={"limiter": 1, "gateway": 2, "agent": 3, "cache": 1},
    idle=dict.fromkeys(SERVICES, 0.0),
)


def test_a_hop_to_which_most_requests_do_not_come_has_no_row() -> None:
    rows = {row[0]: row[1] for row in report.latency(RESULTS).rows}
    assert rows == {
        "limiter": "1.00",
        "gateway": "0.50",
        "sum of these medians": "1.50",
        "median of the client": "1.75",
        "... where no spans are made": "1.25",
    }


def test_the_bound_is_what_the_cores_can_compute() -> None:
    rows = {row[0]: row[1] for row in report.cpu(RESULTS).rows}
    assert rows["**sum**"] == "1000"
    assert rows["**bound for 2 cores, requests/s**"] == "2000"
    assert rows["**bound for the mesh alone**"] == "3333"
    assert rows["**measured, requests/s**"] == "1500"


def test_the_findings_name_who_is_full_first_and_what_failed() -> None:
    findings = report.findings(RESULTS)
    assert "1 limiter would be full first, at 5000 requests/s; then 2 gateways, at 6667." in findings
    assert "503 2" in findings
    assert "+0.5 to +0.5 ms" in findings
