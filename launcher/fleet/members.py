"""Who is in a pool: the replicas of one service, which of them take calls, and which place each has."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One replica."""

    number: int
    """Its place in the row of ports of its service, from 1."""
    rank: int
    """Its place in the pool, from 1, which its weight goes with. Who takes over from another has the same one."""
    serving: bool = False
    """Whether it is there and ready."""
    draining: bool = False
    """Whether it gets no new calls any more."""


class Members:
    """The replicas of one service."""

    def __init__(self) -> None:
        self._members: dict[int, Member] = {}

    def __iter__(self) -> Iterator[Member]:
        """In the order of their ranks; who takes over comes after whom it follows."""
        return iter(sorted(self._members.values(), key=lambda member: (member.rank, not member.draining)))

    def __contains__(self, number: object) -> bool:
        return number in self._members

    def __getitem__(self, number: int) -> Member:
        return self._members[number]

    def join(self, number: int, *, rank: int | None = None) -> Member:
        """A replica that is about to start. Without a rank it gets the first one that nobody has."""
        if rank is None:
            taken = {member.rank for member in self.staying()}
            rank = next(free for free in range(1, len(taken) + 2) if free not in taken)
        member = self._members[number] = Member(number=number, rank=rank)
        return member

    def leave(self, number: int) -> None:
        del self._members[number]

    def staying(self) -> list[Member]:
        """All that are not on their way out, the first ones first."""
        return [member for member in self if not member.draining]
