"""What every preference store does, in memory, in SQLite and in PostgreSQL."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from load.measuring.ports import free_port
from meshkit.database import database_url, open_engine
from meshkit.errors import Reason, ShoalError
from meshkit.migrations import migrate
from services import agent
from services.agent.ports import Preferences, PreferenceStore
from services.agent.preference_store import MemoryPreferenceStore
from services.agent.sql_preference_store import SqlPreferenceStore
from tests.backends import wait_until
from tests.contract.agent.conftest import PATIENCE_SECONDS

MIGRATIONS = Path(agent.__path__[0]) / "migrations"
VALUES: dict[str, Any] = {"language": "de", "odd": ["\0", "\U0001f41f", None, True, 1.5, -(2**53)], "": {"'": '"'}}


@asynccontextmanager
async def sql_store(configured: str) -> AsyncIterator[SqlPreferenceStore]:
    url = database_url(configured, home="", owner="agent")
    await migrate(url, owner="agent", scripts=MIGRATIONS)
    async with open_engine(url) as engine:
        yield SqlPreferenceStore(engine, timeout_seconds=PATIENCE_SECONDS)


@pytest.fixture(params=["memory", "sqlite_url", "postgres_url"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[PreferenceStore]:
    if request.param == "memory":
        yield MemoryPreferenceStore()
        return
    async with sql_store(request.getfixturevalue(request.param)) as over_sql:
        yield over_sql


async def put(store: PreferenceStore, tenant: str, version: int | None = None, **values: Any) -> int:
    return await store.put(tenant, "ann", values, expected_version=version)


async def test_about_an_unknown_user_nothing_is_kept(store: PreferenceStore, tenant: str) -> None:
    assert await store.get(tenant, "ann") == Preferences({}, 0)


async def test_values_come_back_as_they_were(store: PreferenceStore, tenant: str) -> None:
    assert await store.put(tenant, "ann", VALUES, expected_version=None) == 1
    assert await store.get(tenant, "ann") == Preferences(VALUES, 1)


async def test_each_put_replaces_the_whole_and_counts_the_version(store: PreferenceStore, tenant: str) -> None:
    assert [await put(store, tenant, a=1), await put(store, tenant, b=2), await put(store, tenant)] == [1, 2, 3]
    assert await store.get(tenant, "ann") == Preferences({}, 3)


async def test_users_and_tenants_are_apart(store: PreferenceStore, tenant: str) -> None:
    await put(store, tenant, a=1)
    assert (await store.get(tenant, "Ann")).version == 0
    assert (await store.get(f"{tenant}-other", "ann")).version == 0
    assert await put(store, f"{tenant}-other", b=2) == 1
    assert (await store.get(tenant, "ann")).values == {"a": 1}


async def test_the_expected_version_may_be_named(store: PreferenceStore, tenant: str) -> None:
    assert [await put(store, tenant, version=version) for version in (0, 1, 2)] == [1, 2, 3]


@pytest.mark.parametrize("expected", [0, 1, 3, 2**63 - 1, 2**63, 2**64 - 1])
async def test_another_version_is_a_conflict_that_changes_nothing(
    store: PreferenceStore, tenant: str, expected: int
) -> None:
    for _ in range(2):
        await put(store, tenant, a=1)
    with pytest.raises(ShoalError) as refused:
        await put(store, tenant, expected, b=2)
    assert (refused.value.reason, refused.value.field) == (Reason.PREFERENCES_CONFLICT, "expected_version")
    assert await store.get(tenant, "ann") == Preferences({"a": 1}, 2)


async def test_a_version_of_an_unknown_user_is_a_conflict(store: PreferenceStore, tenant: str) -> None:
    with pytest.raises(ShoalError) as refused:
        await put(store, tenant, 1, b=2)
    assert refused.value.reason is Reason.PREFERENCES_CONFLICT
    assert (await store.get(tenant, "ann")).version == 0


async def test_puts_at_the_same_time_are_all_counted(store: PreferenceStore, tenant: str) -> None:
    versions = await asyncio.gather(*(put(store, tenant, number=number) for number in range(12)))
    assert sorted(versions) == list(range(1, 13))
    assert await store.get(tenant, "ann") == Preferences({"number": versions.index(12)}, 12)


@pytest.mark.parametrize("expected", [0, 1])
async def test_of_puts_at_the_same_time_that_expect_the_same_one_wins(
    store: PreferenceStore, tenant: str, expected: int
) -> None:
    for _ in range(expected):
        await put(store, tenant)
    outcomes = await asyncio.gather(
        *(put(store, tenant, expected, number=number) for number in range(12)), return_exceptions=True
    )
    lost = [outcome for outcome in outcomes if isinstance(outcome, ShoalError)]
    assert {error.reason for error in lost} == {Reason.PREFERENCES_CONFLICT}
    assert [outcome for outcome in outcomes if outcome not in lost] == [expected + 1]
    assert (await store.get(tenant, "ann")).values == {"number": outcomes.index(expected + 1)}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_database_that_cannot_be_reached_is_unavailable(kind: str, tmp_path: Path) -> None:
    urls = {
        "sqlite": f"sqlite:///{tmp_path / 'missing' / 'agent.db'}",
        "postgresql": f"postgresql://shoal@127.0.0.1:{free_port()}/shoal",
    }
    async with open_engine(database_url(urls[kind], home="", owner="agent")) as engine:
        store = SqlPreferenceStore(engine, timeout_seconds=PATIENCE_SECONDS)
        for call in (store.get("acme", "ann"), put(store, "acme", a=1)):
            with pytest.raises(ShoalError) as refused:
                await call
            assert refused.value.reason is Reason.DATABASE_UNAVAILABLE
    # A failed connection to SQLite leaves a thread that has one more word for our loop before it ends.
    await asyncio.to_thread(wait_until, lambda: not sqlite_threads(), "the end of SQLite's threads")


async def test_a_database_that_hangs_is_unavailable_until_it_answers_again(postgres_url: str, tenant: str) -> None:
    async with sql_store(postgres_url), open_engine(database_url(postgres_url, home="", owner="agent")) as engine:
        store = SqlPreferenceStore(engine, timeout_seconds=0.1)
        async with engine.begin() as locking:
            await locking.execute(text("LOCK TABLE preferences IN ACCESS EXCLUSIVE MODE"))
            for version in (None, 0, 1) * 3:
                with pytest.raises(ShoalError) as refused:
                    await put(store, tenant, version, a=1)
                assert refused.value.reason is Reason.DATABASE_UNAVAILABLE
            with pytest.raises(ShoalError) as refused:
                await store.get(tenant, "ann")
            assert refused.value.reason is Reason.DATABASE_UNAVAILABLE
        patient = SqlPreferenceStore(engine, timeout_seconds=PATIENCE_SECONDS)
        assert await patient.get(tenant, "ann") == Preferences({}, 0)


@pytest.mark.parametrize("expected", [None, 1])
async def test_a_put_that_a_lock_held_up_too_long_has_no_effect_and_leaves_the_database_free(
    sqlite_url: str, tmp_path: Path, expected: int | None
) -> None:
    url = database_url(sqlite_url, home="", owner="agent")
    async with sql_store(sqlite_url) as patient, open_engine(url, lock_timeout_seconds=3600) as engine:
        await put(patient, "acme", a=1)
        with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            late = asyncio.create_task(put(SqlPreferenceStore(engine, timeout_seconds=0.1), "acme", expected, b=2))
            await asyncio.to_thread(wait_until, lambda: late.cancelling() > 0 or late.done(), "the end of its time")
            other.execute("ROLLBACK")
        with pytest.raises(ShoalError) as refused:
            await late
        assert refused.value.reason is Reason.DATABASE_UNAVAILABLE
        assert await put(patient, "acme", 1, c=3) == 2


def sqlite_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name]
