"""Which failures are expected."""

import pytest

from load.soak.tally import KILL_FELT_SECONDS, MOST_FAILURES_KEPT, Outcome, Tally


@pytest.mark.parametrize(
    ("began", "ended", "outcome"),
    [
        (90.0, 99.9, Outcome.FAILED),
        (90.0, 100.1, Outcome.KILLED),
        (100.0 + KILL_FELT_SECONDS - 0.1, 110.0, Outcome.KILLED),
        (100.0 + KILL_FELT_SECONDS + 0.1, 110.0, Outcome.FAILED),
    ],
)
def test_only_a_call_that_met_the_kill_may_fail(began: float, ended: float, outcome: Outcome) -> None:
    tally = Tally(began=0.0)
    tally.killed(100.0)
    tally.failed("REST", "503", began=began, ended=ended)
    assert tally.calls == {"REST": {outcome: 1}}
    assert len(tally.failures) == (outcome is Outcome.FAILED)


def test_a_limiter_that_was_too_slow_is_counted_apart() -> None:
    tally = Tally(began=0.0)
    tally.failed("REST", "503 The limits cannot be checked at the moment", began=1.0, ended=2.0)
    assert tally.calls == {"REST": {Outcome.UNCHECKED: 1}}
    assert not tally.failures


def test_all_failures_are_counted_and_the_first_are_kept() -> None:
    tally = Tally(began=10.0)
    for number in range(MOST_FAILURES_KEPT + 1):
        tally.failed("REST", f"{number}", began=20.0, ended=21.0)
    assert tally.outcomes == {Outcome.FAILED: MOST_FAILURES_KEPT + 1}
    assert [failure.error for failure in tally.failures] == [f"{number}" for number in range(MOST_FAILURES_KEPT)]
    assert tally.failures[0].seconds == 11.0
