"""The levels as one cache."""

from dataclasses import replace

from services.cache.counts import Counts, LevelCounts, new_counts, total
from services.cache.entry import Entry
from services.cache.events import Events
from services.cache.hierarchy import Found, Hierarchy, Miss
from services.cache.levels.level import Level
from services.cache.policies import LevelName, Policy, PolicyName
from tests.unit.cache.levels_at_hand import BrokenLevel, DamagedLevel, memory

NOW = 1_700_000_000.0
TTL = 60.0
KEY = "acme/response/" + "ab" * 32
ENTRY = Entry(events=Events.of([b"one", b"two"]), created=NOW, ttl_seconds=TTL)
POLICY = Policy(name=PolicyName.RESPONSE, ttl_seconds=TTL, levels=(LevelName.L1, LevelName.L2))
ONLY_FAR = Policy(name=PolicyName.MODEL_OUTPUT, ttl_seconds=TTL, levels=(LevelName.L2,))


class World:
    """A near and a far level, made one."""

    def __init__(self, near: Level, far: Level) -> None:
        self.near, self.far = near, far
        self.counts: Counts = new_counts([POLICY, ONLY_FAR])
        self._hierarchy = Hierarchy({LevelName.L1: near, LevelName.L2: far}, self.counts)
        self.invalid: set[Entry] = set()

    async def get(self, now: float = NOW, *, policy: Policy = POLICY) -> Found | Miss:
        return await self._hierarchy.get(KEY, policy, now, lambda entry: entry not in self.invalid)

    async def put(self, entry: Entry = ENTRY, now: float = NOW, *, policy: Policy = POLICY) -> bool:
        return await self._hierarchy.put(KEY, entry, policy, now)

    async def inspect(self) -> tuple[list[Found], list[LevelName]]:
        return await self._hierarchy.inspect(KEY, POLICY, NOW)

    def of(self, level: LevelName) -> LevelCounts:
        return total(self.counts, level)


async def test_what_nobody_stored_is_not_found() -> None:
    assert await World(memory(), memory()).get() == Miss()


async def test_what_is_stored_is_at_every_level_of_its_policy() -> None:
    world = World(memory(), memory())
    assert await world.put()
    assert await world.near.get(KEY, NOW) == ENTRY
    assert await world.far.get(KEY, NOW) == ENTRY


async def test_levels_that_the_policy_does_not_name_are_left_alone() -> None:
    world = World(memory(), memory())
    await world.near.put(KEY, ENTRY, POLICY, NOW)
    assert await world.get(policy=ONLY_FAR) == Miss()
    await world.put(policy=ONLY_FAR)
    assert await world.get(policy=ONLY_FAR) == (ENTRY, LevelName.L2)
    assert world.of(LevelName.L1) == LevelCounts()


async def test_the_nearest_level_answers() -> None:
    world = World(memory(), memory())
    await world.put()
    assert await world.get() == (ENTRY, LevelName.L1)


async def test_a_find_at_a_farther_level_is_promoted() -> None:
    world = World(memory(), memory())
    await world.far.put(KEY, ENTRY, POLICY, NOW)
    assert await world.get() == (ENTRY, LevelName.L2)
    assert await world.get() == (ENTRY, LevelName.L1)
    assert (world.of(LevelName.L1).stores, world.of(LevelName.L2).stores) == (1, 0)


async def test_a_promoted_entry_expires_when_it_would_have() -> None:
    world = World(memory(), memory())
    await world.far.put(KEY, ENTRY, POLICY, NOW)
    await world.get(NOW + TTL - 1)
    assert await world.near.get(KEY, NOW + TTL - 0.5) == ENTRY
    assert await world.get(NOW + TTL) == Miss()


async def test_an_expired_entry_is_a_miss_at_every_level() -> None:
    world = World(memory(), memory())
    await world.put()
    assert await world.get(NOW + TTL) == Miss()
    assert (world.of(LevelName.L1).misses, world.of(LevelName.L2).misses) == (1, 1)


async def test_an_entry_that_has_expired_already_is_not_stored() -> None:
    assert not await World(memory(), memory()).put(now=NOW + TTL)


async def test_a_near_level_that_fails_is_passed_over() -> None:
    world = World(BrokenLevel(), memory())
    assert await world.put()
    assert await world.get() == (ENTRY, LevelName.L2)
    assert world.of(LevelName.L1).failures == 2, "one store and one look-up; no promotion into a failed level"


async def test_a_far_level_that_fails_is_a_miss() -> None:
    world = World(memory(), BrokenLevel())
    assert await world.get() == Miss()
    assert await world.put()
    assert await world.get() == (ENTRY, LevelName.L1)


async def test_nothing_is_stored_if_every_level_fails() -> None:
    assert not await World(BrokenLevel(), BrokenLevel()).put()


async def test_corrupt_bytes_are_a_miss_and_replaced_by_what_a_farther_level_has() -> None:
    world = World(DamagedLevel(), memory())
    await world.far.put(KEY, ENTRY, POLICY, NOW)
    assert await world.get() == (ENTRY, LevelName.L2)
    assert world.of(LevelName.L1) == LevelCounts(misses=1, corrupt=1, stores=1)
    assert await world.get() == (ENTRY, LevelName.L1)


async def test_an_invalidated_entry_is_a_miss_and_a_farther_level_is_asked() -> None:
    world = World(memory(), memory())
    newer = replace(ENTRY, created=NOW + 1, events=Events.of([b"newer"]))
    await world.near.put(KEY, ENTRY, POLICY, NOW)
    await world.far.put(KEY, newer, POLICY, NOW)
    world.invalid = {ENTRY}
    assert await world.get() == (newer, LevelName.L2)
    assert await world.get() == (newer, LevelName.L1)
    assert world.counts[POLICY.name].invalidated == 1


async def test_an_invalid_entry_is_not_found_or_promoted_and_the_miss_tells_of_it() -> None:
    world = World(memory(), memory())
    await world.far.put(KEY, ENTRY, POLICY, NOW)
    world.invalid = {ENTRY}
    assert await world.get() == Miss(was_invalidated=True)
    assert await world.near.get(KEY, NOW) is None
    assert world.of(LevelName.L2) == LevelCounts(misses=1)


async def test_a_miss_tells_of_an_invalid_entry_although_the_levels_behind_it_have_none() -> None:
    world = World(memory(), memory())
    await world.near.put(KEY, ENTRY, POLICY, NOW)
    world.invalid = {ENTRY}
    assert await world.get() == Miss(was_invalidated=True)


STALE = replace(ENTRY, stale_seconds=30)
RENEWED = replace(STALE, created=NOW + TTL + 1, events=Events.of([b"renewed"]))


async def test_a_stale_entry_is_found_if_there_is_no_fresh_one_and_nothing_is_written() -> None:
    world = World(memory(), memory())
    await world.put(STALE)
    assert await world.get(NOW + TTL + 5) == (STALE, LevelName.L1)
    assert (world.of(LevelName.L1).stores, world.of(LevelName.L2).stores) == (1, 1)


async def test_behind_a_stale_entry_the_fresh_one_of_another_process_is_found_and_promoted() -> None:
    world = World(memory(), memory())
    await world.put(STALE)
    await world.far.put(KEY, RENEWED, POLICY, NOW + TTL + 1)
    assert await world.get(NOW + TTL + 5) == (RENEWED, LevelName.L2)
    assert await world.get(NOW + TTL + 5) == (RENEWED, LevelName.L1)


async def test_a_fresh_entry_is_found_behind_a_stale_one_that_was_made_later() -> None:
    world = World(memory(), memory())
    short_lived = replace(STALE, created=NOW + 1, ttl_seconds=1)
    await world.near.put(KEY, short_lived, POLICY, NOW + 1)
    await world.far.put(KEY, ENTRY, POLICY, NOW)
    assert await world.get(NOW + 3) == (ENTRY, LevelName.L2)


async def test_of_stale_entries_the_newest_is_found_and_promoted() -> None:
    world = World(memory(), memory())
    newer = replace(STALE, created=NOW + 1, events=Events.of([b"newer"]))
    await world.near.put(KEY, STALE, POLICY, NOW)
    await world.far.put(KEY, newer, POLICY, NOW)
    assert await world.get(NOW + TTL + 5) == (newer, LevelName.L2)
    assert await world.get(NOW + TTL + 5) == (newer, LevelName.L1)


async def test_a_stale_entry_is_found_although_the_level_behind_it_fails() -> None:
    world = World(memory(), BrokenLevel())
    await world.put(STALE)
    assert await world.get(NOW + TTL + 5) == (STALE, LevelName.L1)


async def test_a_look_up_is_one_hit_at_the_level_that_answers_and_a_miss_at_every_other_that_is_asked() -> None:
    world = World(memory(), memory())
    await world.put(STALE)
    await world.get(NOW + TTL + 5)
    assert (world.of(LevelName.L1).hits, world.of(LevelName.L1).misses) == (1, 0)
    assert (world.of(LevelName.L2).hits, world.of(LevelName.L2).misses) == (0, 1), "its own is no fresher"
    await world.far.put(KEY, RENEWED, POLICY, NOW + TTL + 1)
    await world.get(NOW + TTL + 5)
    assert (world.of(LevelName.L1).hits, world.of(LevelName.L1).misses) == (1, 1), "its own is passed over"
    assert (world.of(LevelName.L2).hits, world.of(LevelName.L2).misses) == (1, 1)


async def test_use_is_counted_by_level_and_policy() -> None:
    world = World(memory(), BrokenLevel())
    await world.get()
    await world.put()
    await world.get()
    await world.get()
    await world.get(policy=ONLY_FAR)
    assert world.counts[POLICY.name].levels == {
        LevelName.L1: LevelCounts(hits=2, misses=1, stores=1),
        LevelName.L2: LevelCounts(failures=2),
    }
    assert world.counts[ONLY_FAR.name].levels == {LevelName.L2: LevelCounts(failures=1)}
    assert world.of(LevelName.L2) == LevelCounts(failures=3)


async def test_an_inspection_shows_each_level_and_leaves_no_trace() -> None:
    world = World(memory(), memory())
    await world.far.put(KEY, ENTRY, POLICY, NOW)
    assert await world.inspect() == ([(ENTRY, LevelName.L2)], [])
    assert await world.near.get(KEY, NOW) is None
    assert world.of(LevelName.L1) == world.of(LevelName.L2) == LevelCounts()


async def test_an_inspection_names_levels_that_fail_and_passes_over_corrupt_bytes() -> None:
    assert await World(BrokenLevel(), DamagedLevel()).inspect() == ([], [LevelName.L1])
