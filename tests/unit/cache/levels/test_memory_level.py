"""The memory level: its bounds, its accounting, and who has to go."""

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cache.entry import Entry
from services.cache.events import Events
from services.cache.eviction.choice import EvictionName, eviction_named
from services.cache.levels.footprint import footprint_bytes
from services.cache.levels.level import Holdings
from services.cache.levels.memory_level import MemoryLevel
from services.cache.policies import DEFAULT_POLICIES, PolicyName

NOW = 1_700_000_000.0
TTL = 100.0
POLICY = DEFAULT_POLICIES[PolicyName.RESPONSE]

evictions = st.sampled_from(EvictionName)
steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "get"]),
        st.text("abcdefgh", min_size=1, max_size=2),
        st.integers(0, 900),
        st.floats(0, TTL / 2),
    ),
    max_size=80,
)


def level_of(
    *, max_entries: int = 10, max_bytes: int = 10**6, eviction: EvictionName = EvictionName.RECENCY_FREQUENCY
) -> MemoryLevel:
    return MemoryLevel(max_entries=max_entries, max_bytes=max_bytes, eviction=eviction_named(eviction))


def entry_of(event: bytes, *, created: float = NOW, ttl_seconds: float = TTL) -> Entry:
    return Entry(events=Events.of([event]), created=created, ttl_seconds=ttl_seconds)


def size_of(key: str, entry: Entry, eviction: EvictionName = EvictionName.RECENCY_FREQUENCY) -> int:
    return footprint_bytes(key, entry) + eviction_named(eviction).KEY_BYTES


async def put(level: MemoryLevel, key: str, entry: Entry, now: float = NOW) -> bool:
    return await level.put(key, entry, POLICY, now)


async def kept(level: MemoryLevel, keys: list[str], now: float) -> list[str]:
    return [key for key in keys if await level.get(key, now)]


@given(steps=steps, max_entries=st.integers(1, 12), max_bytes=st.integers(500, 10_000), eviction=evictions)
async def test_bounds_hold_after_every_step_and_answers_are_never_wrong(
    steps: list[tuple[str, str, int, float]], max_entries: int, max_bytes: int, eviction: EvictionName
) -> None:
    level = level_of(max_entries=max_entries, max_bytes=max_bytes, eviction=eviction)
    newest: dict[str, Entry] = {}
    now = NOW
    for action, key, size, seconds in steps:
        now += seconds
        if action == "put":
            entry = entry_of(bytes(size), created=now)
            stored = await put(level, key, entry, now)
            assert stored == (size_of(key, entry, eviction) <= max_bytes)
            if stored:
                newest[key] = entry
                assert await level.get(key, now) == entry
        found = await level.get(key, now)
        assert found is None or (found == newest[key] and found.is_live(now))
        assert level.holdings().entries <= max_entries
        assert level.holdings().size_bytes <= max_bytes


@given(steps=steps, eviction=evictions)
async def test_the_bytes_counted_are_those_of_the_entries_held(
    steps: list[tuple[str, str, int, float]], eviction: EvictionName
) -> None:
    level = level_of(max_bytes=10_000, eviction=eviction)
    for _, key, size, _ in steps:
        await put(level, key, entry_of(bytes(size)))
    held = {key: found for key in {step[1] for step in steps} if (found := await level.get(key, NOW))}
    assert level.holdings().entries == len(held)
    assert level.holdings().size_bytes == sum(size_of(key, entry, eviction) for key, entry in held.items())


async def test_a_full_level_drops_its_worst_fifth_at_once() -> None:
    level = level_of()
    keys = [f"{number}" for number in range(10)]
    for position, key in enumerate(keys):
        await put(level, key, entry_of(b"answer"), NOW + position)
    await kept(level, ["0", "2", "3"], NOW + 20)
    await put(level, "new", entry_of(b"answer"), NOW + 21)
    assert level.holdings().evictions == 2
    assert await kept(level, [*keys, "new"], NOW + 22) == ["0", "2", "3", "5", "6", "7", "8", "9", "new"]


async def test_another_eviction_drops_one_at_a_time() -> None:
    level = level_of(eviction=EvictionName.S3_FIFO)
    keys = [f"{number}" for number in range(11)]
    for key in keys:
        await put(level, key, entry_of(b"answer"))
    assert await kept(level, keys, NOW) == keys[1:]
    assert level.holdings().evictions == 1


@pytest.mark.parametrize("eviction", EvictionName)
async def test_a_large_entry_makes_many_small_ones_go(eviction: EvictionName) -> None:
    level = level_of(max_entries=1000, max_bytes=100_000, eviction=eviction)
    for number in range(90):
        await put(level, f"{number}", entry_of(b"answer"))
    assert await put(level, "large", entry_of(bytes(95_000)))
    assert await kept(level, ["large"], NOW) == ["large"]
    assert level.holdings().evictions > 50


@pytest.mark.parametrize("eviction", EvictionName)
async def test_expired_entries_make_room_before_live_ones(eviction: EvictionName) -> None:
    level = level_of(max_entries=4, eviction=eviction)
    for number in range(2):
        await put(level, f"live {number}", entry_of(b"answer"))
        await put(level, f"expired {number}", entry_of(b"answer", ttl_seconds=1 + number))
    await put(level, "new", entry_of(b"answer"), NOW + 2)
    held = ["live 0", "live 1", "new"]
    assert level.holdings().entries == len(held)
    assert await kept(level, [*held, "expired 0", "expired 1"], NOW) == held
    assert level.holdings().evictions == 0


async def test_an_entry_whose_life_was_renewed_does_not_go_with_its_old_one() -> None:
    level = level_of(max_entries=2)
    await put(level, "renewed", entry_of(b"old", ttl_seconds=10))
    await put(level, "renewed", entry_of(b"new", created=NOW + 5), NOW + 5)
    await put(level, "expired", entry_of(b"answer", ttl_seconds=10))
    await put(level, "third", entry_of(b"answer"), NOW + 20)
    assert await kept(level, ["renewed", "expired", "third"], NOW + 20) == ["renewed", "third"]
    assert level.holdings().evictions == 0


async def test_a_renewed_answer_is_as_popular_as_before() -> None:
    level = level_of(max_entries=2)
    await put(level, "popular", entry_of(b"old"))
    for _ in range(9):
        await level.get("popular", NOW)
    await put(level, "popular", entry_of(b"new", created=NOW + 1), NOW + 1)
    await put(level, "other", entry_of(b"answer"), NOW + 8)
    await put(level, "third", entry_of(b"answer"), NOW + 20)
    assert await kept(level, ["popular", "other", "third"], NOW + 20) == ["popular", "third"]


async def test_to_be_replaced_by_something_larger_is_no_eviction() -> None:
    level = level_of(max_bytes=3000)
    await put(level, "key", entry_of(b"small"))
    assert await put(level, "key", entry_of(bytes(2000), created=NOW + 1), NOW + 1)
    assert await put(level, "other", entry_of(b"answer"), NOW + 2) is True
    assert level.holdings().entries == 1
    assert level.holdings().evictions == 1


async def test_an_entry_larger_than_the_level_is_not_kept_and_drives_nobody_out() -> None:
    level = level_of(max_bytes=2000)
    await put(level, "small", entry_of(b"answer"))
    assert not await put(level, "large", entry_of(bytes(2000)))
    assert await kept(level, ["small", "large"], NOW) == ["small"]


async def test_an_entry_that_is_too_large_lets_the_older_one_go_that_would_be_found_in_its_place() -> None:
    level = level_of(max_bytes=2000)
    await put(level, "key", entry_of(b"older"))
    assert not await put(level, "key", entry_of(bytes(2000), created=NOW + 1), NOW + 1)
    assert await level.get("key", NOW + 1) is None
    assert level.holdings() == Holdings()


async def test_an_entry_of_an_earlier_generation_that_is_too_large_leaves_the_newer_one() -> None:
    level = level_of(max_bytes=2000)
    newer = replace(entry_of(b"newer"), generation=1)
    await put(level, "key", newer)
    assert not await put(level, "key", entry_of(bytes(2000), created=NOW + 1), NOW + 1)
    assert await level.get("key", NOW) == newer


async def test_the_last_byte_of_room_can_be_used() -> None:
    entry = entry_of(b"answer")
    level = level_of(max_bytes=2 * size_of("a", entry))
    await put(level, "a", entry)
    await put(level, "b", entry)
    assert await kept(level, ["a", "b"], NOW) == ["a", "b"]


async def test_an_expired_entry_is_let_go_when_it_is_asked_for() -> None:
    level = level_of()
    await put(level, "key", entry_of(b"answer"))
    assert await level.get("key", NOW + TTL) is None
    assert level.holdings() == Holdings(entries=0, size_bytes=0, evictions=0)


async def test_a_stale_entry_is_given_out_until_it_expires() -> None:
    level = level_of()
    entry = Entry(events=Events.of([b"answer"]), created=NOW, ttl_seconds=TTL, stale_seconds=10)
    await put(level, "key", entry)
    assert await level.get("key", NOW + TTL + 9.9) == entry
    assert await level.get("key", NOW + TTL + 10) is None


@pytest.mark.parametrize("eviction", EvictionName)
async def test_a_level_takes_no_more_memory_after_a_long_time(eviction: EvictionName) -> None:
    level = level_of(max_entries=200, eviction=eviction)

    async def keep(numbers: range) -> int:
        for number in numbers:
            await put(level, f"{number:0100}", entry_of(b"answer", ttl_seconds=10**6))
            await put(level, "replaced", entry_of(b"answer", created=NOW + number, ttl_seconds=10**6))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = await keep(range(1000))
        late = await keep(range(1000, 10_000))
    finally:
        tracemalloc.stop()
    assert late <= 1.3 * early
