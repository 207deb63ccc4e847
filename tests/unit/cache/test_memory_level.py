"""The memory level: its bounds, its accounting, and who has to go."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from services.cache.entry import Entry
from services.cache.level import Holdings
from services.cache.memory_level import MemoryLevel, footprint_bytes

NOW = 1_700_000_000.0
TTL = 100.0


def entry_of(event: bytes, *, created: float = NOW) -> Entry:
    return Entry(events=(event,), created=created, ttl_seconds=TTL)


async def kept(level: MemoryLevel, keys: list[str], now: float) -> list[str]:
    return [key for key in keys if await level.get(key, now)]


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "get"]),
        st.text("abcdefgh", min_size=1, max_size=2),
        st.integers(0, 900),
        st.floats(0, TTL / 2),
    ),
    max_size=80,
)


@given(steps=steps, max_entries=st.integers(1, 12), max_bytes=st.integers(300, 6000))
async def test_bounds_hold_after_every_step_and_answers_are_never_wrong(
    steps: list[tuple[str, str, int, float]], max_entries: int, max_bytes: int
) -> None:
    level = MemoryLevel(max_entries=max_entries, max_bytes=max_bytes)
    newest: dict[str, Entry] = {}
    now = NOW
    for action, key, size, seconds in steps:
        now += seconds
        if action == "put":
            entry = entry_of(bytes(size), created=now)
            stored = await level.put(key, entry, now)
            assert stored == (footprint_bytes(key, entry) <= max_bytes)
            if stored:
                newest[key] = entry
                assert await level.get(key, now) == entry
        found = await level.get(key, now)
        assert found is None or (found == newest[key] and found.is_live(now))
        assert level.holdings().entries <= max_entries
        assert level.holdings().size_bytes <= max_bytes


@given(steps=steps)
async def test_the_bytes_counted_are_those_of_the_entries_held(steps: list[tuple[str, str, int, float]]) -> None:
    level = MemoryLevel(max_entries=10, max_bytes=5000)
    for _, key, size, _ in steps:
        await level.put(key, entry_of(bytes(size)), NOW)
    held = {key: found for key in {step[1] for step in steps} if (found := await level.get(key, NOW))}
    assert level.holdings().entries == len(held)
    assert level.holdings().size_bytes == sum(footprint_bytes(key, entry) for key, entry in held.items())


async def test_the_bytes_counted_are_what_python_allocates() -> None:
    tracemalloc.start()
    try:
        level = MemoryLevel(max_entries=1000, max_bytes=10**9)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(500):
            entry = Entry(tuple(bytes(50 + number) for _ in range(10)), NOW + number, TTL + 1000)
            await level.put(f"acme/response/{number:064x}", entry, NOW + number)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    counted = level.holdings().size_bytes
    assert 0.95 * (after - before) <= counted <= 1.1 * (after - before)


async def test_a_full_level_drops_its_worst_fifth_at_once() -> None:
    level = MemoryLevel(max_entries=10, max_bytes=10**6)
    keys = [f"{number}" for number in range(10)]
    for position, key in enumerate(keys):
        await level.put(key, entry_of(b"answer"), NOW + position)
    await kept(level, ["0", "2", "3"], NOW + 20)
    await level.put("new", entry_of(b"answer"), NOW + 21)
    assert level.holdings().evictions == 2
    assert await kept(level, [*keys, "new"], NOW + 22) == ["0", "2", "3", "5", "6", "7", "8", "9", "new"]


async def test_expired_entries_make_room_before_live_ones() -> None:
    level = MemoryLevel(max_entries=2, max_bytes=10**6)
    await level.put("live", entry_of(b"answer", created=NOW), NOW)
    await level.put("expired", entry_of(b"answer", created=NOW - TTL + 1), NOW)
    await level.put("new", entry_of(b"answer", created=NOW + 2), NOW + 2)
    assert await kept(level, ["live", "expired", "new"], NOW + 2) == ["live", "new"]
    assert level.holdings().evictions == 0


async def test_an_entry_larger_than_the_level_is_not_kept_and_drives_nobody_out() -> None:
    level = MemoryLevel(max_entries=10, max_bytes=2000)
    await level.put("small", entry_of(b"answer"), NOW)
    assert not await level.put("large", entry_of(bytes(2000)), NOW)
    assert await kept(level, ["small", "large"], NOW) == ["small"]


async def test_the_last_byte_of_room_can_be_used() -> None:
    entry = entry_of(b"answer")
    level = MemoryLevel(max_entries=10, max_bytes=2 * footprint_bytes("a", entry))
    await level.put("a", entry, NOW)
    await level.put("b", entry, NOW)
    assert await kept(level, ["a", "b"], NOW) == ["a", "b"]


async def test_an_expired_entry_is_let_go_when_it_is_asked_for() -> None:
    level = MemoryLevel(max_entries=10, max_bytes=10**6)
    await level.put("key", entry_of(b"answer"), NOW)
    assert await level.get("key", NOW + TTL) is None
    assert level.holdings() == Holdings(entries=0, size_bytes=0, evictions=0)


async def test_an_older_answer_does_not_replace_a_newer_one() -> None:
    level = MemoryLevel(max_entries=10, max_bytes=10**6)
    newer = entry_of(b"newer", created=NOW)
    await level.put("key", newer, NOW)
    assert not await level.put("key", entry_of(b"older", created=NOW - 1), NOW)
    assert await level.get("key", NOW) == newer
