"""The levels as one cache."""

from services.cache.entry import Entry
from services.cache.hierarchy import Found, Hierarchy, LevelStats
from services.cache.level import Holdings, Level, LevelName, LevelUnavailableError
from services.cache.memory_level import MemoryLevel
from services.cache.policies import Policy

NOW = 1_700_000_000.0
TTL = 60.0
KEY = "acme/response/" + "ab" * 32
ENTRY = Entry(events=(b"one", b"two"), created=NOW, ttl_seconds=TTL)
POLICY = Policy(ttl_seconds=TTL, levels=(LevelName.L1, LevelName.L2), max_bytes=10**6)
ONLY_FAR = Policy(ttl_seconds=TTL, levels=(LevelName.L2,), max_bytes=10**6)


class BrokenLevel:
    """A Level that is never available."""

    async def get(self, key: str, now: float) -> Entry | None:
        raise LevelUnavailableError("broken")

    async def put(self, key: str, entry: Entry, now: float) -> bool:
        raise LevelUnavailableError("broken")

    def holdings(self) -> Holdings:
        return Holdings()


def memory() -> MemoryLevel:
    return MemoryLevel(max_entries=10, max_bytes=10**6)


def of(near: Level, far: Level) -> Hierarchy:
    return Hierarchy({LevelName.L1: near, LevelName.L2: far})


def stats_of(hierarchy: Hierarchy, name: LevelName) -> LevelStats:
    return next(row for row in hierarchy.stats() if row.level is name)


async def test_what_nobody_stored_is_not_found() -> None:
    assert await of(memory(), memory()).get(KEY, POLICY, NOW) is None


async def test_what_is_stored_is_at_every_level_of_its_policy() -> None:
    near, far = memory(), memory()
    assert await of(near, far).put(KEY, ENTRY, POLICY, NOW)
    assert await near.get(KEY, NOW) == ENTRY
    assert await far.get(KEY, NOW) == ENTRY


async def test_levels_that_the_policy_does_not_name_are_left_alone() -> None:
    near, far = memory(), memory()
    hierarchy = of(near, far)
    await near.put(KEY, ENTRY, NOW)
    assert await hierarchy.get(KEY, ONLY_FAR, NOW) is None
    await hierarchy.put(KEY, ENTRY, ONLY_FAR, NOW)
    assert await hierarchy.get(KEY, ONLY_FAR, NOW) == Found(ENTRY, LevelName.L2)
    assert stats_of(hierarchy, LevelName.L1).stores == 0


async def test_the_nearest_level_answers() -> None:
    hierarchy = of(memory(), memory())
    await hierarchy.put(KEY, ENTRY, POLICY, NOW)
    assert await hierarchy.get(KEY, POLICY, NOW) == Found(ENTRY, LevelName.L1)


async def test_a_find_at_a_farther_level_is_promoted() -> None:
    near, far = memory(), memory()
    hierarchy = of(near, far)
    await far.put(KEY, ENTRY, NOW)
    assert await hierarchy.get(KEY, POLICY, NOW) == Found(ENTRY, LevelName.L2)
    assert await hierarchy.get(KEY, POLICY, NOW) == Found(ENTRY, LevelName.L1)


async def test_a_promoted_entry_expires_when_it_would_have() -> None:
    near, far = memory(), memory()
    hierarchy = of(near, far)
    await far.put(KEY, ENTRY, NOW)
    await hierarchy.get(KEY, POLICY, NOW + TTL - 1)
    assert await near.get(KEY, NOW + TTL - 0.5) == ENTRY
    assert await hierarchy.get(KEY, POLICY, NOW + TTL) is None


async def test_an_expired_entry_is_a_miss_at_every_level() -> None:
    hierarchy = of(memory(), memory())
    await hierarchy.put(KEY, ENTRY, POLICY, NOW)
    assert await hierarchy.get(KEY, POLICY, NOW + TTL) is None
    assert [row.misses for row in hierarchy.stats()] == [1, 1]


async def test_an_entry_that_has_expired_already_is_not_stored() -> None:
    assert not await of(memory(), memory()).put(KEY, ENTRY, POLICY, NOW + TTL)


async def test_a_near_level_that_fails_is_passed_over() -> None:
    far = memory()
    hierarchy = of(BrokenLevel(), far)
    assert await hierarchy.put(KEY, ENTRY, POLICY, NOW)
    assert await hierarchy.get(KEY, POLICY, NOW) == Found(ENTRY, LevelName.L2)
    assert stats_of(hierarchy, LevelName.L1).failures == 2, (
        "one store and one look-up; no promotion into a failed level"
    )


async def test_a_far_level_that_fails_is_a_miss() -> None:
    hierarchy = of(memory(), BrokenLevel())
    assert await hierarchy.get(KEY, POLICY, NOW) is None
    assert await hierarchy.put(KEY, ENTRY, POLICY, NOW)
    assert await hierarchy.get(KEY, POLICY, NOW) == Found(ENTRY, LevelName.L1)


async def test_nothing_is_stored_if_every_level_fails() -> None:
    assert not await of(BrokenLevel(), BrokenLevel()).put(KEY, ENTRY, POLICY, NOW)


async def test_use_is_counted_by_level() -> None:
    near = memory()
    hierarchy = of(near, BrokenLevel())
    await hierarchy.get(KEY, POLICY, NOW)
    await hierarchy.put(KEY, ENTRY, POLICY, NOW)
    await hierarchy.get(KEY, POLICY, NOW)
    await hierarchy.get(KEY, POLICY, NOW)
    held = near.holdings()
    assert hierarchy.stats() == [
        LevelStats(LevelName.L1, 2, 1, 0, 1, evictions=0, entries=1, size_bytes=held.size_bytes),
        LevelStats(LevelName.L2, 0, 0, 2, 0, evictions=0, entries=0, size_bytes=0),
    ]


async def test_a_promotion_counts_as_a_store() -> None:
    far = memory()
    hierarchy = of(memory(), far)
    await far.put(KEY, ENTRY, NOW)
    await hierarchy.get(KEY, POLICY, NOW)
    assert [row.stores for row in hierarchy.stats()] == [1, 0]
