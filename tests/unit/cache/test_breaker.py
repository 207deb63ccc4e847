"""The breaker before a neighbour."""

from services.cache.levels.breaker import Breaker

PAUSE = 1.0


def test_a_healthy_neighbour_is_always_called() -> None:
    breaker = Breaker(pause_seconds=PAUSE)
    assert breaker.allows(0.0)
    assert not breaker.record_success()
    assert breaker.allows(0.0)


def test_after_a_failure_nobody_calls_until_the_pause_is_over() -> None:
    breaker = Breaker(pause_seconds=PAUSE)
    breaker.record_failure(10.0)
    assert not breaker.allows(10.0)
    assert not breaker.allows(10.999)
    assert breaker.allows(11.0)


def test_one_caller_probes_and_the_others_wait_for_what_it_finds() -> None:
    breaker = Breaker(pause_seconds=PAUSE)
    breaker.record_failure(10.0)
    assert [breaker.allows(11.0) for _ in range(3)] == [True, False, False]
    breaker.record_success()
    assert [breaker.allows(11.1) for _ in range(3)] == [True, True, True]


def test_a_probe_that_fails_begins_another_pause() -> None:
    breaker = Breaker(pause_seconds=PAUSE)
    breaker.record_failure(10.0)
    assert breaker.allows(11.0)
    breaker.record_failure(11.5)
    assert not breaker.allows(12.4)
    assert breaker.allows(12.5)


def test_a_probe_that_is_never_heard_of_again_is_followed_by_another() -> None:
    breaker = Breaker(pause_seconds=PAUSE)
    breaker.record_failure(10.0)
    assert breaker.allows(11.0)
    assert breaker.allows(12.0)


def test_only_changes_of_state_are_told() -> None:
    breaker = Breaker(pause_seconds=PAUSE)
    assert [breaker.record_failure(10.0), breaker.record_failure(10.0)] == [True, False]
    assert [breaker.record_success(), breaker.record_success()] == [True, False]
