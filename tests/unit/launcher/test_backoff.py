"""The delays before a restart."""

from launcher.processes.backoff import Backoff


def test_delays_double_up_to_ten_seconds() -> None:
    backoff = Backoff()
    delays = [backoff.after(0.1) for _ in range(8)]
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_long_life_starts_over() -> None:
    backoff = Backoff()
    assert [backoff.after(lived) for lived in (1, 1, 30, 1)] == [0.2, 0.4, 0.2, 0.4]
