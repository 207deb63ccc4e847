"""The view of one process: what it takes for valid after what it has heard."""

import tracemalloc
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from services.cache.generations.generations import Generations, News

A, B = "acme/tag/a", "acme/tag/b"


def news(latest: int, scopes: Mapping[str, int], *, epoch: str = "first", beginning: int = 100, floor: int = 0) -> News:
    return News(epoch=epoch, latest=latest, beginning=beginning, floor=floor, scopes=scopes)


def view_of(*heard: News) -> Generations:
    view = Generations()
    for each in heard:
        view.learn(each)
    return view


def test_before_its_first_news_a_process_trusts_nothing() -> None:
    view = Generations()
    assert view.latest == 0
    assert not view.is_valid(0, ())
    assert not view.is_valid(2**64 - 1, ())
    view.invalidated(A, 150)
    assert not view.is_valid(150, ())


def test_what_is_led_before_the_first_news_is_not_valid_afterwards_either() -> None:
    assert not view_of(news(100, {})).is_valid(0, ())


def test_an_answer_is_valid_unless_one_of_its_scopes_was_invalidated_after_it_was_begun() -> None:
    view = view_of(news(120, {A: 110, B: 120}))
    assert not view.is_valid(109, (A,))
    assert view.is_valid(110, (A,))
    assert not view.is_valid(110, (A, B))
    assert view.is_valid(120, (A, B))
    assert view.is_valid(100, ("acme/tag/other",))


def test_nothing_from_before_the_beginning_or_the_floor_is_valid() -> None:
    assert not view_of(news(100, {})).is_valid(99, ())
    assert view_of(news(100, {})).is_valid(100, ())
    dropped = view_of(news(130, {}, floor=120))
    assert not dropped.is_valid(119, ())
    assert dropped.is_valid(120, ())


def test_leads_are_of_the_generation_up_to_which_everything_was_heard() -> None:
    view = view_of(news(110, {A: 110}))
    view.invalidated(B, 120)
    assert view.latest == 110, "something else may have been invalidated at 115"
    assert not view.is_valid(119, (B,))
    view.learn(news(120, {B: 120, A: 115}))
    assert view.latest == 120


def test_in_one_epoch_nothing_goes_back() -> None:
    view = view_of(news(120, {A: 120}, floor=105), news(110, {A: 110}))
    assert view.latest == 120
    assert not view.is_valid(119, (A,))
    assert not view.is_valid(104, ())


def test_a_log_that_was_lost_takes_nothing_from_what_is_known() -> None:
    view = view_of(news(120, {A: 120}), news(200, {}, epoch="second", beginning=200))
    assert view.latest == 200
    assert view.is_valid(120, (A,))
    assert not view.is_valid(119, (A,))
    assert view.is_valid(119, (B,)), "it knows what was invalidated since 100, whatever the log knows"


def test_after_a_log_was_lost_whose_clock_is_behind_its_leads_are_on_the_safe_side() -> None:
    view = view_of(news(120, {A: 120}), news(90, {}, epoch="second", beginning=90))
    assert view.latest == 90
    assert not view.is_valid(view.latest, (A,))
    assert not view.is_valid(119, (A,))


def test_what_lies_below_the_floor_is_forgotten() -> None:
    view = view_of(news(5000, {f"acme/tag/{number}": number for number in range(101, 5001)}))
    assert len(view.known().scopes) == 4900
    view.learn(news(5001, {A: 5001}, floor=4990))
    assert view.known().scopes == {**{f"acme/tag/{number}": number for number in range(4991, 5001)}, A: 5001}


def test_the_room_that_a_view_takes_is_bounded_whatever_it_hears() -> None:
    view = Generations()
    tracemalloc.start()
    try:
        for start in range(100, 30_100, 500):
            scopes = {f"acme/key/{number}": number for number in range(start + 1, start + 501)}
            view.learn(news(start + 500, scopes, floor=start - 500))
        del scopes
        assert tracemalloc.get_traced_memory()[0] < 1_000_000, "30,000 scopes would take 4 MB"
    finally:
        tracemalloc.stop()


generations = st.integers(100, 140)
scope_names = st.sampled_from(["a", "b", "c", "d"])


@st.composite
def pieces_of_news(draw: st.DrawFn) -> News:
    scopes = draw(st.dictionaries(scope_names, generations))
    latest = max([draw(generations), *scopes.values()])
    return news(latest, scopes, beginning=draw(st.integers(90, 110)), floor=draw(st.integers(0, 120)))


def meaning(view: Generations) -> list[bool]:
    """All that can be asked of a view."""
    return [view.is_valid(generation, (scope,)) for generation in range(88, 142) for scope in "abcde"]


heard_twice = st.lists(pieces_of_news(), min_size=1, max_size=5).flatmap(
    lambda heard: st.tuples(st.just(heard), st.permutations([*heard, *heard[:2]]))
)


@given(heard_twice)
def test_the_order_in_which_it_is_heard_and_how_often_do_not_matter(histories: tuple[list[News], list[News]]) -> None:
    one, other = (view_of(*history) for history in histories)
    assert meaning(one) == meaning(other)
    assert one.known() == other.known()


@given(st.lists(pieces_of_news(), min_size=1, max_size=5))
def test_who_is_told_all_that_another_knows_knows_as_much(heard: list[News]) -> None:
    step_by_step = view_of(*heard)
    assert meaning(view_of(step_by_step.known())) == meaning(step_by_step)


@given(st.lists(pieces_of_news(), min_size=1, max_size=5), pieces_of_news())
def test_news_of_the_same_beginning_make_nothing_valid_again(heard: list[News], more: News) -> None:
    view = view_of(*heard)
    before = meaning(view)
    view.learn(news(more.latest, more.scopes, beginning=110, floor=more.floor))
    assert all(was or not still for was, still in zip(before, meaning(view), strict=True))
