"""The rule by which the pool of agents grows and shrinks."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoyconf.topology import Topology
from launcher.fleet.autoscaling import COOLDOWN_SECONDS, MOST, WINDOW_SECONDS, Autoscaler, Bounds

BOUNDS = Bounds(2, 8)
STEP = 5.0

bounds = st.tuples(st.integers(1, MOST), st.integers(1, MOST)).map(lambda pair: Bounds(*sorted(pair)))
utilisations = st.floats(0, 1.5)
moments = st.lists(st.tuples(utilisations, st.floats(0.1, 100)), min_size=1, max_size=200)
"""Utilisations, with the seconds that passed before each."""


class Pool:
    """Does what the rule wants, at once."""

    def __init__(self, replicas: int, within: Bounds = BOUNDS) -> None:
        self.rule = Autoscaler(within)
        self.replicas = replicas
        self.now = 1000.0
        self.changed_at: list[float] = []

    def passes(self, seconds: float, utilisation: float) -> int:
        """So busy for that long, looked at every five seconds. Returns how many replicas there are then."""
        for _ in range(round(seconds / STEP)):
            self.look(utilisation, after=STEP)
        return self.replicas

    def look(self, utilisation: float, *, after: float) -> None:
        self.now += after
        wanted = self.rule.observe(utilisation, self.replicas, self.now)
        if wanted != self.replicas:
            self.changed_at.append(self.now)
            self.replicas = wanted


def test_above_80_percent_two_are_added() -> None:
    assert Pool(3).passes(70, 0.81) == 5


def test_below_30_percent_one_is_removed() -> None:
    assert Pool(5).passes(70, 0.29) == 4


@pytest.mark.parametrize("utilisation", [0.30, 0.5, 0.80])
def test_between_the_thresholds_nothing_changes(utilisation: float) -> None:
    assert Pool(3).passes(3600, utilisation) == 3


def test_turns_that_wait_count_too() -> None:
    assert Pool(3).passes(70, 1.5) == 5


def test_nothing_changes_before_a_whole_minute_was_seen() -> None:
    assert Pool(3).passes(WINDOW_SECONDS, 1.0) == 3


@pytest.mark.parametrize(("usual", "blip"), [(0.6, 1.5), (0.5, 0.0)])
def test_a_blip_changes_nothing(usual: float, blip: float) -> None:
    pool = Pool(4)
    pool.passes(120, usual)
    pool.passes(10, blip)
    assert pool.passes(120, usual) == 4


def test_after_a_change_five_minutes_pass_before_the_next() -> None:
    pool = Pool(2)
    assert pool.passes(70, 1.0) == 4
    assert pool.passes(300 - STEP, 1.0) == 4
    assert pool.passes(2 * STEP, 1.0) == 6


def test_a_change_that_somebody_else_made_counts_as_one() -> None:
    pool = Pool(3)
    pool.passes(30, 1.0)
    pool.replicas = 4
    assert pool.passes(300, 1.0) == 4
    assert pool.passes(2 * STEP, 1.0) == 6


def test_samples_from_before_a_change_do_not_count_after_it() -> None:
    pool = Pool(3)
    pool.passes(70, 1.5)
    assert pool.passes(2 * COOLDOWN_SECONDS, 0.5) == 5
    assert WINDOW_SECONDS < COOLDOWN_SECONDS


def test_what_was_wanted_and_not_made_is_wanted_again() -> None:
    rule = Autoscaler(BOUNDS)
    wanted = [rule.observe(1.0, 3, now) for now in range(0, 90, 5)]
    assert wanted[-6:] == [5] * 6


def test_the_bounds_cut_a_step_short() -> None:
    assert Pool(7).passes(70, 1.0) == 8
    assert Pool(8).passes(70, 1.0) == 8
    assert Pool(2).passes(70, 0.0) == 2


@pytest.mark.parametrize(("replicas", "inside"), [(1, 2), (9, 8), (20, 8)])
def test_a_pool_outside_of_the_bounds_is_brought_inside_at_once(replicas: int, inside: int) -> None:
    assert Autoscaler(BOUNDS).observe(0.5, replicas, 0.0) == inside


def test_also_during_the_five_minutes_after_a_change() -> None:
    pool = Pool(3)
    pool.passes(70, 1.0)
    pool.replicas = 12
    assert pool.passes(STEP, 0.5) == 8


@given(bounds, st.integers(1, 30), moments)
def test_what_is_wanted_is_always_within_the_bounds(
    within: Bounds, replicas: int, seen: list[tuple[float, float]]
) -> None:
    pool = Pool(replicas, within)
    for utilisation, after in seen:
        pool.look(utilisation, after=after)
        assert within.least <= pool.replicas <= within.most


@given(bounds, moments, st.data())
def test_no_two_changes_are_closer_than_the_cooldown(
    within: Bounds, seen: list[tuple[float, float]], data: st.DataObject
) -> None:
    pool = Pool(data.draw(st.integers(within.least, within.most)), within)
    for utilisation, after in seen * 5:
        pool.look(utilisation, after=after)
    assert all(later - earlier >= COOLDOWN_SECONDS for earlier, later in pairwise(pool.changed_at))


@given(st.integers(2, 8), st.lists(st.tuples(utilisations, utilisations), min_size=15, max_size=40))
def test_a_busier_pool_never_wants_fewer_replicas(replicas: int, pairs: list[tuple[float, float]]) -> None:
    calm, busy = Autoscaler(BOUNDS), Autoscaler(BOUNDS)
    for number, pair in enumerate(pairs):
        now = number * STEP
        assert calm.observe(min(pair), replicas, now) <= busy.observe(max(pair), replicas, now)


@given(st.integers(1, MOST), st.floats(0, 25))
def test_under_a_steady_load_it_comes_to_rest_and_turns_at_most_once(replicas: int, load: float) -> None:
    """`load` in replicas' worth of slots."""
    pool = Pool(replicas, Bounds(1, MOST))
    sizes = [replicas, *(pool.passes(COOLDOWN_SECONDS + STEP, load / pool.replicas) for _ in range(2 * MOST))]
    directions = [after > before for before, after in pairwise(sizes) if after != before]
    assert sizes[-1] == sizes[-2]
    assert sum(one != other for one, other in pairwise(directions)) <= 1


def test_bounds_are_read() -> None:
    assert Bounds.parse("agent=2..8") == Bounds(2, 8)
    assert Bounds.parse("agent=3..3") == Bounds(3, 3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("2..8", "'2..8' does not read like agent=2..8"),
        ("agent=2-8", "does not read like"),
        ("agent=two..8", "does not read like"),
        ("agent=2..8 ", "does not read like"),
        ("agent=-1..8", "does not read like"),
        ("", "does not read like"),
        ("gateway=1..2", "only agent can be autoscaled"),
        ("agent=0..8", "from 1 at the least to 20 at the most"),
        ("agent=2..21", "from 1 at the least to 20 at the most"),
        ("agent=8..2", "must go upward"),
    ],
)
def test_bounds_that_are_wrong_are_refused_with_what_is_right(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Bounds.parse(text)


def test_the_table_of_ports_has_room_for_the_most() -> None:
    assert len(Topology.default(agent_replicas=MOST).agent.ports) == MOST
    with pytest.raises(ValueError, match="has room for"):
        Topology.default(agent_replicas=MOST + 1)
