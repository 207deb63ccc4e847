"""How many limiters share the limits."""

from services.ratelimit.buckets.fleet import MEMORY_SECONDS, FleetSize


def test_before_anybody_counted_it_is_what_is_known_without_asking() -> None:
    assert int(FleetSize(at_least=3)) == 3


def test_the_largest_count_of_late_holds() -> None:
    size = FleetSize(at_least=1)
    size.counted(4, 0.0)
    for second in range(1, int(MEMORY_SECONDS) + 1):
        size.counted(2, second)
        assert int(size) == 4
    size.counted(2, MEMORY_SECONDS + 0.1)
    assert int(size) == 2


def test_a_count_below_what_is_known_changes_nothing() -> None:
    size = FleetSize(at_least=3)
    size.counted(1, 0.0)
    assert int(size) == 3


def test_after_an_outage_the_number_from_before_holds_until_everybody_was_counted_anew() -> None:
    size = FleetSize(at_least=1)
    size.counted(3, 0.0)
    for second in range(60, 71):
        size.counted(1, second)
        assert int(size) == 3
    size.counted(1, 60 + MEMORY_SECONDS + 0.1)
    assert int(size) == 1
