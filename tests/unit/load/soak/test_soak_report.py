"""What is said of a soak follows from its samples."""

from load.soak.record import Change, ProcessSample, Sample, Soak
from load.soak.report import findings
from load.soak.tally import Outcome

MIB = 2**20
MINUTES = 30.0


def soak(*, agent_grows_by: float = 0.0, calls: dict[str, int] | None = None, changes: tuple[Change, ...] = ()) -> Soak:
    """An agent and a gateway; the agent takes half of a core."""
    samples = [
        Sample(
            now,
            {},
            [
                ProcessSample("agent-1", "agent", 1, round((80 + agent_grows_by * now / 1800) * MIB), 0, 20, now / 2),
                ProcessSample("gateway-1", "gateway", 2, 50 * MIB, 0, 20, 7.0),
            ],
        )
        for now in range(0, 1801, 5)
    ]
    return Soak("python -m load.soak", "somewhere", MINUTES, samples, list(changes), {"REST": calls or {}}, [])


def test_services_are_said_to_be_flat() -> None:
    assert findings(soak())[:2] == [
        "Memory is flat in all 2 services: agent, gateway.",
        "The number of descriptors is flat in all 2 services: agent, gateway.",
    ]


def test_a_service_that_grows_is_named() -> None:
    assert findings(soak(agent_grows_by=5))[0] == "Memory is not flat in agent; of 2 services."


def test_unexpected_failures_are_told_apart_from_those_of_a_kill() -> None:
    calls: dict[str, int] = {
        Outcome.ANSWERED: 90,
        Outcome.CANCELLED: 5,
        Outcome.KILLED: 3,
        Outcome.UNCHECKED: 1,
        Outcome.FAILED: 2,
    }
    [said] = [line for line in findings(soak(calls=calls)) if "calls" in line and "kill -9" in line]
    assert said == (
        "101 calls, 5 of them cancelled by their callers; 2 failed unexpectedly, 1 were refused since the limiter did "
        "not answer in time, 3 were broken by a kill -9."
    )


def test_a_change_that_was_not_made_is_no_success() -> None:
    changes = (Change(60, 70, "agent"), Change(120, 130, "cache", "cache-2 does not get ready."))
    assert (
        "Restarted or killed meanwhile: agent in minute 1.0; cache in minute 2.0, which failed: "
        "cache-2 does not get ready." in findings(soak(changes=changes))
    )


def test_the_time_of_the_processor_is_a_mean_over_the_soak() -> None:
    assert "0.50 of a core" in findings(soak())[-1]
