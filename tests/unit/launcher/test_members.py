"""Who is in a pool: the places that replicas get, and the order in which they count."""

from launcher.fleet.members import Member, Members


def members_of(*numbers: int) -> Members:
    members = Members()
    for number in numbers:
        members.join(number)
    return members


def numbers(members: list[Member]) -> list[int]:
    return [member.number for member in members]


def test_replicas_get_ranks_in_the_order_in_which_they_join() -> None:
    assert [(member.number, member.rank) for member in members_of(4, 7, 5)] == [(4, 1), (7, 2), (5, 3)]


def test_who_joins_takes_neither_calls_nor_leave() -> None:
    member = Members().join(1)
    assert not member.serving
    assert not member.draining


def test_a_place_that_came_free_is_given_to_the_next_who_joins() -> None:
    members = members_of(1, 2, 3)
    members.leave(2)
    assert members.join(9).rank == 2
    assert numbers(members.staying()) == [1, 9, 3]


def test_the_rank_of_one_who_drains_is_free() -> None:
    members = members_of(1, 2)
    members[2].draining = True
    assert members.join(3).rank == 2


def test_who_takes_over_has_the_rank_of_whom_it_follows_and_comes_after() -> None:
    members = members_of(1, 2)
    members.join(5, rank=members[1].rank)
    members[1].draining = True
    assert [member.number for member in members] == [1, 5, 2]


def test_those_that_stay_are_the_ones_that_do_not_drain() -> None:
    members = members_of(1, 2, 3)
    members[2].draining = True
    assert numbers(members.staying()) == [1, 3]


def test_who_left_is_a_member_no_more() -> None:
    members = members_of(1, 2)
    members.leave(1)
    assert 1 not in members
    assert 2 in members
