"""The breaker before a neighbour."""

from services.cache.outages.breaker import LATE_IN_A_ROW, Breaker

PAUSE = 1.0


def test_a_healthy_neighbour_is_always_called() -> None:
    breaker = Breaker(pause_seconds=PAUSE)
    assert breaker.allows(0.0)
    breaker.record_success()
    assert breaker.allows(0.0)
    assert not breaker.is_open


def test_after_a_failure_nobody_calls_until_the_pause_is_over() -> None:
    breaker = Breaker(pause_seconds=PAUSE)
    breaker.record_failure(10.0)
    assert breaker.is_open
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


def test_several_late_answers_in_a_row_are_a_failure_and_fewer_are_none() -> None:
    breaker = Breaker(pause_seconds=PAUSE)
    for number in range(LATE_IN_A_ROW):
        assert not breaker.is_open
        breaker.record_late(10.0 + number, began=9.9 + number)
    assert breaker.is_open


def test_an_answer_in_time_makes_the_late_ones_before_it_forgotten() -> None:
    breaker = Breaker(pause_seconds=PAUSE)
    for number in range(3 * LATE_IN_A_ROW):
        breaker.record_late(10.0 + number, began=9.9 + number)
        if number % (LATE_IN_A_ROW - 1) == 0:
            breaker.record_success()
    assert not breaker.is_open


def test_calls_that_were_under_way_together_are_late_once() -> None:
    breaker = Breaker(pause_seconds=PAUSE)
    for number in range(100):
        breaker.record_late(10.0 + number / 1000, began=9.9 + number / 1000)
    assert not breaker.is_open


def test_a_probe_that_is_late_keeps_it_open() -> None:
    breaker = Breaker(pause_seconds=PAUSE)
    breaker.record_failure(10.0)
    assert breaker.allows(11.0)
    breaker.record_late(11.1, began=11.0)
    assert not breaker.allows(11.9)
    assert breaker.allows(12.1)
