"""The schedule of an overload."""

from itertools import pairwise

from load.limits.admitted import Tier
from load.limits.overload import schedule

SLOW = Tier("slow", rate=1, burst=1, clients=1, overload=2.0)
FAST = Tier("fast", rate=10, burst=1, clients=1, overload=1.5)


def test_each_client_asks_at_its_own_pace() -> None:
    asks = list(schedule([SLOW, FAST], seconds=10))
    assert [index for _, index in asks].count(0) == 20
    assert [index for _, index in asks].count(1) == 150


def test_questions_are_in_order_and_within_the_time() -> None:
    times = [at for at, _ in schedule([SLOW, SLOW, FAST], seconds=10)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < 10


def test_clients_do_not_all_begin_at_once() -> None:
    times = [at for at, _ in schedule([SLOW] * 4, seconds=1)]
    assert len(set(times)) == 8


def test_a_client_asks_more_often_than_its_bucket_refills() -> None:
    times = [at for at, _ in schedule([FAST], seconds=10)]
    longest = max(later - earlier for earlier, later in pairwise(times))
    assert longest < 1 / FAST.rate
