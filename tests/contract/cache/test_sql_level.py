"""What is particular to the level in SQL: its table, the purge, foreign columns, cancelled calls, a pool used up."""

import asyncio
import os
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Select, event, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from load.measuring.ports import free_port
from meshkit.database import database_url, open_engine
from services.cache.entry import Entry
from services.cache.events import Events
from services.cache.levels import sql_table
from services.cache.levels.level import CorruptEntryError, LevelUnavailableError
from services.cache.levels.sql_level import FOUND_TOGETHER, LARGEST_SHARED_BYTES, STORED_TOGETHER, SqlLevel
from services.cache.levels.sql_table import PURGE_BATCH, cache_entries
from services.cache.policies import DEFAULT_POLICIES, PolicyName
from services.cache.settings import OWNER
from tests.contract.cache.clock import SteadyClock
from tests.contract.cache.conftest import PATIENCE_SECONDS, sql_level_on

KEY = "acme/model_output/" + "ab" * 32
POLICY = DEFAULT_POLICIES[PolicyName.MODEL_OUTPUT]
NOW = 1_800_000_000.125
PAUSE = 1.0


def entry_of(event: bytes = b"answer", *, created: float = NOW, ttl_seconds: float = 3600.0) -> Entry:
    return Entry(events=Events.of([event]), created=created, ttl_seconds=ttl_seconds)


async def test_the_migrated_table_is_the_one_that_the_level_uses(engine: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"include_name": _is_ours, "compare_type": True})
        return list(compare_metadata(context, sql_table.metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name in sql_table.metadata.tables


async def test_a_row_says_whose_it_is_of_which_policy_and_from_when_to_when(engine: AsyncEngine) -> None:
    await sql_level_on(engine).put(KEY, replace(entry_of(), generation=7), POLICY, NOW)
    columns = [column for column in cache_entries.columns if column.name != "data"]
    async with engine.connect() as connection:
        row = (await connection.execute(select(*columns))).one()
    assert row == (KEY, "acme", "model_output", 7, NOW, NOW + 3600)


async def test_a_tenant_may_have_any_name(engine: AsyncEngine) -> None:
    level = sql_level_on(engine)
    for tenant in ("a/b", "'; DROP TABLE cache_entries; --", "é" * 200, "anonymous-2001:db8::"):
        key = f"{tenant}/model_output/{'ab' * 32}"
        assert await level.put(key, entry_of(tenant.encode()), POLICY, NOW)
        assert await level.get(key, NOW) == entry_of(tenant.encode())


async def test_entries_are_compressed_if_the_policy_says_so(engine: AsyncEngine) -> None:
    level = sql_level_on(engine)
    entry = entry_of(b"x" * 1_000_000)
    await level.put(KEY, entry, POLICY, NOW)
    await level.put(KEY + "0", entry, replace(POLICY, compress=False), NOW)
    async with engine.connect() as connection:
        lengths = select(func.length(cache_entries.c.data)).order_by(cache_entries.c.key)
        compressed, plain = (await connection.execute(lengths)).scalars()
    assert compressed < 10_000
    assert plain > 1_000_000


async def test_of_many_that_are_stored_at_once_that_of_the_latest_generation_stays(engine: AsyncEngine) -> None:
    level = sql_level_on(engine)
    entries = [replace(entry_of(b"%d" % number), generation=number) for number in (2, 6, 0, 8, 4, 9, 1, 7, 3, 5)]
    await asyncio.gather(*(level.put(KEY, entry, POLICY, NOW) for entry in entries))
    assert await level.get(KEY, NOW) == replace(entry_of(b"9"), generation=9)


async def test_of_many_that_are_stored_at_once_each_is_told_whether_it_was(engine: AsyncEngine) -> None:
    level = sql_level_on(engine)
    keys = [f"acme/model_output/{number:064x}" for number in range(20)]
    await asyncio.gather(*(level.put(key, replace(entry_of(), generation=2), POLICY, NOW) for key in keys[:5]))
    late = [replace(entry_of(b"late"), generation=1)] * 3 + [replace(entry_of(b"late"), generation=3)] * 17
    stored = await asyncio.gather(*(level.put(key, entry, POLICY, NOW) for key, entry in zip(keys, late, strict=True)))
    assert stored == [False] * 3 + [True] * 17
    found = await asyncio.gather(*(level.get(key, NOW) for key in keys))
    assert found == [replace(entry_of(), generation=2)] * 3 + late[3:]


async def test_of_several_with_one_key_that_are_stored_at_once_the_one_that_stays_is_told_so(
    engine: AsyncEngine,
) -> None:
    level = sql_level_on(engine)
    entries = [replace(entry_of(b"%d" % generation), generation=generation) for generation in (1, 2, 0)]
    assert await asyncio.gather(*(level.put(KEY, entry, POLICY, NOW) for entry in entries)) == [False, True, False]
    assert await level.get(KEY, NOW) == entries[1]


async def test_rows_are_stored_in_the_order_of_their_keys_so_that_no_two_wait_for_each_other(
    postgres_engine: AsyncEngine,
) -> None:
    level = sql_level_on(postgres_engine)
    first, last = (f"acme/model_output/{digit * 64}" for digit in "0f")
    for key in (first, last):
        await level.put(key, entry_of(), POLICY, NOW)
    async with postgres_engine.connect() as other:
        await other.execute(row_of(first).with_for_update())
        stores = [asyncio.create_task(level.put(key, entry_of(b"new"), POLICY, NOW)) for key in (last, first)]
        await until_somebody_waits_for_a_lock(postgres_engine)
        await other.execute(row_of(last).with_for_update(nowait=True))
        await other.commit()
        assert await asyncio.gather(*stores) == [True, True]


def row_of(key: str) -> Select[Any]:
    return select(cache_entries).where(cache_entries.c.key == key)


async def until_somebody_waits_for_a_lock(engine: AsyncEngine) -> None:
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with engine.connect() as connection:
                if (await connection.execute(waiting)).scalar_one():
                    return


async def test_what_is_asked_for_at_once_takes_few_transactions(engine: AsyncEngine) -> None:
    level = sql_level_on(engine)
    keys = [f"acme/model_output/{number:064x}" for number in range(STORED_TOGETHER)]
    transactions: list[Connection] = []
    event.listen(engine.sync_engine, "begin", transactions.append)
    await asyncio.gather(*(level.put(key, entry_of(), POLICY, NOW) for key in keys))
    assert len(transactions) == 1
    await asyncio.gather(*(level.get(key, NOW) for key in keys))
    assert len(transactions) == 1 + STORED_TOGETHER // FOUND_TOGETHER


async def test_a_large_entry_shares_its_transaction_with_nobody(engine: AsyncEngine) -> None:
    level = sql_level_on(engine)
    large = entry_of(os.urandom(2 * LARGEST_SHARED_BYTES))
    keys = [f"acme/model_output/{number:064x}" for number in range(3)]
    transactions: list[Connection] = []
    event.listen(engine.sync_engine, "begin", transactions.append)
    assert await asyncio.gather(*(level.put(key, large, POLICY, NOW) for key in keys)) == [True] * 3
    assert len(transactions) == 3
    assert [await level.get(key, NOW) for key in keys] == [large] * 3


async def test_a_purge_deletes_what_has_expired_and_nothing_else(engine: AsyncEngine) -> None:
    level = sql_level_on(engine)
    expired = 3 * PURGE_BATCH + 1
    await store(level, expired, ttl_seconds=10)
    await level.put(KEY, entry_of(), POLICY, NOW)
    assert await level.purge(NOW + 9.9) == 0
    assert await level.purge(NOW + 10) == expired
    assert await level.purge(NOW + 10) == 0
    assert await keys_in(engine) == [KEY]


async def test_two_that_purge_at_once_delete_each_row_once(engine: AsyncEngine) -> None:
    expired = 10 * PURGE_BATCH
    level = sql_level_on(engine)
    await store(level, expired, ttl_seconds=10)
    await asyncio.gather(*(level.purge(NOW + 10) for _ in range(3)))
    await level.purge(NOW + 10)
    assert await keys_in(engine) == []


async def store(level: SqlLevel, count: int, *, ttl_seconds: float) -> None:
    entry = entry_of(ttl_seconds=ttl_seconds)
    for number in range(count):
        await level.put(f"acme/model_output/{number:064x}", entry, POLICY, NOW)


async def keys_in(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return list((await connection.execute(select(cache_entries.c.key))).scalars())


async def test_text_in_place_of_bytes_is_corrupt(sqlite_engine: AsyncEngine) -> None:
    level = sql_level_on(sqlite_engine)
    await level.put(KEY, entry_of(), POLICY, NOW)
    async with sqlite_engine.begin() as connection:
        await connection.execute(text("UPDATE cache_entries SET data = 'text'"))
    with pytest.raises(CorruptEntryError):
        await level.get(KEY, NOW)


async def test_a_database_without_the_table_is_unavailable_for_everything(sqlite_url: str) -> None:
    await assert_everything_fails(sqlite_url)


async def test_a_database_that_nobody_serves_is_unavailable_for_everything() -> None:
    await assert_everything_fails(f"postgresql://nobody@127.0.0.1:{free_port()}/cache")


async def assert_everything_fails(url: str) -> None:
    clock = SteadyClock()
    async with open_engine(database_url(url, home="", owner=OWNER)) as engine:
        level = SqlLevel(engine=engine, timeout_seconds=10, clock=clock, pause_seconds=PAUSE)
        for attempt in (lambda: level.get(KEY, NOW), lambda: level.put(KEY, entry_of(), POLICY, NOW)):
            with pytest.raises(LevelUnavailableError, match="failed"):
                await attempt()
            clock.seconds += PAUSE
        with pytest.raises(LevelUnavailableError, match="failed"):
            await level.purge(NOW)


async def test_when_all_connections_are_in_use_look_ups_are_refused_until_one_is_free(engine: AsyncEngine) -> None:
    hurried = SqlLevel(engine=engine, timeout_seconds=0.2, clock=SteadyClock())
    async with aclosing(hurried), AsyncExitStack() as connections:
        for _ in range(15 if engine.dialect.name == "sqlite" else 8):
            await connections.enter_async_context(engine.connect())
        with pytest.raises(LevelUnavailableError, match="failed"):
            await hurried.get(KEY, NOW)
    patient = sql_level_on(engine)
    assert await patient.put(KEY, entry_of(), POLICY, NOW)
    assert await patient.get(KEY, NOW) == entry_of()


@pytest.mark.parametrize("operation", ["get", "put"])
async def test_who_waits_behind_others_for_too_long_is_refused(engine: AsyncEngine, operation: str) -> None:
    def takes_its_time(connection: Connection) -> None:
        await_only(asyncio.sleep(0.15))

    event.listen(engine.sync_engine, "begin", takes_its_time)
    keys = [f"acme/model_output/{number:064x}" for number in range(10 * STORED_TOGETHER)]
    async with aclosing(SqlLevel(engine=engine, timeout_seconds=0.25, clock=SteadyClock())) as level:
        ask = level.get if operation == "get" else partial(level.put, entry=entry_of(), policy=POLICY)
        answers = await asyncio.gather(*(ask(key, now=NOW) for key in keys), return_exceptions=True)
        assert any(isinstance(answer, LevelUnavailableError) for answer in answers)


async def test_a_cancelled_look_up_harms_no_other(engine: AsyncEngine) -> None:
    entries = {f"tenant-{number}/model_output/{'ab' * 32}": entry_of(b"%d" % number) for number in range(20)}
    async with aclosing(sql_level_on(engine)) as level:
        for key, entry in entries.items():
            await level.put(key, entry, POLICY, NOW)
        for turns in range(0, 60, 4):
            abandoned = [asyncio.create_task(level.get(key, NOW)) for key in entries]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in abandoned:
                task.cancel()
            await asyncio.gather(*abandoned, return_exceptions=True)
            found = await asyncio.gather(*(level.get(key, NOW) for key in entries))
            assert found == list(entries.values())


@pytest.mark.parametrize("timeout_seconds", [0.0, 0.0005, 0.001, 0.002, 0.004])
async def test_look_ups_that_take_too_long_harm_no_other(engine: AsyncEngine, timeout_seconds: float) -> None:
    patient = sql_level_on(engine)
    await patient.put(KEY, entry_of(), POLICY, NOW)
    for _ in range(10):
        async with aclosing(SqlLevel(engine=engine, timeout_seconds=timeout_seconds, clock=SteadyClock())) as hurried:
            await asyncio.gather(*(hurried.get(KEY, NOW) for _ in range(5)), return_exceptions=True)
        assert await patient.get(KEY, NOW) == entry_of()
