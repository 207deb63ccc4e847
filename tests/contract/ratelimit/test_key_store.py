"""What every key store does, and that the tables fit the migrations."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from load.measuring.ports import free_port
from meshkit.database import database_url, open_engine
from meshkit.errors import Reason, ShoalError
from meshkit.migrations import migrate
from services import ratelimit
from services.ratelimit import keys, sql_key_store
from services.ratelimit.keys import ApiKey, InMemoryKeyStore, KeyStore
from services.ratelimit.settings import OWNER
from services.ratelimit.sql_key_store import SqlKeyStore

MIGRATIONS = Path(ratelimit.__file__).parent / "migrations"


def key(number: int, *, tenant: str = "acme", created: float = 1_800_000_000.125) -> ApiKey:
    secret = keys.new_secret(number.to_bytes(32, "big"))
    return keys.describe(secret, tenant=tenant, tier="free", name=f"Schlüssel {number}", now=created)


async def opened(url: str) -> AsyncIterator[AsyncEngine]:
    where = database_url(url, home="", owner=OWNER)
    await migrate(where, owner=OWNER, scripts=MIGRATIONS)
    async with open_engine(where) as engine:
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM api_keys"))
            await connection.execute(text("DELETE FROM tenants"))
        yield engine


@pytest.fixture(params=["sqlite_url", "postgres_url"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[AsyncEngine]:
    async for engine in opened(request.getfixturevalue(request.param)):
        yield engine


@pytest.fixture
async def sqlite_engine(sqlite_url: str) -> AsyncIterator[AsyncEngine]:
    async for engine in opened(sqlite_url):
        yield engine


@pytest.fixture
async def postgres_engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    async for engine in opened(postgres_url):
        yield engine


@pytest.fixture(params=["memory", "sqlite_engine", "postgres_engine"])
def store(request: pytest.FixtureRequest) -> KeyStore:
    if request.param == "memory":
        return InMemoryKeyStore()
    return SqlKeyStore(request.getfixturevalue(request.param))


async def test_a_key_is_found_by_its_hash_as_it_was_added(store: KeyStore) -> None:
    await store.add(key(1))
    await store.add(key(2))
    assert await store.find(key(1).hash) == key(1)
    assert await store.find(key(3).hash) is None


async def test_a_revoked_key_is_found_no_more_and_stays_in_the_list_of_all(store: KeyStore) -> None:
    await store.add(key(1))
    revoked = replace(key(1), revoked=1_800_000_001.5)
    assert await store.revoke(key(1).id, now=1_800_000_001.5) == revoked
    assert await store.find(key(1).hash) is None
    assert await store.list_keys(tenant="", include_revoked=False) == []
    assert await store.list_keys(tenant="", include_revoked=True) == [revoked]


async def test_revoking_again_keeps_the_first_time(store: KeyStore) -> None:
    await store.add(key(1))
    first = await store.revoke(key(1).id, now=100.0)
    assert await store.revoke(key(1).id, now=200.0) == first


async def test_revoking_what_is_not_there_finds_nothing(store: KeyStore) -> None:
    await store.add(key(1))
    assert await store.revoke("key_0000000000000000", now=100.0) is None
    assert await store.find(key(1).hash) == key(1)


async def test_many_keys_are_found_at_once_without_those_that_are_no_good(store: KeyStore) -> None:
    for number in range(1, 5):
        await store.add(key(number))
    await store.revoke(key(3).id, now=100.0)
    asked = [key(number).hash for number in (1, 3, 4, 5)]
    assert await store.find_many(asked) == {key(1).hash: key(1), key(4).hash: key(4)}
    assert await store.find_many([]) == {}


async def test_a_thousand_hashes_are_few_enough_for_one_question(store: KeyStore) -> None:
    await store.add(key(7))
    assert await store.find_many([key(number).hash for number in range(1000)]) == {key(7).hash: key(7)}


async def test_an_updated_key_has_its_new_tier_and_is_else_as_it_was(store: KeyStore) -> None:
    for number in (1, 2):
        await store.add(key(number))
    updated = replace(key(1), tier="premium")
    assert await store.update(key(1).id, "premium") == updated
    assert await store.find(key(1).hash) == updated
    assert await store.find(key(2).hash) == key(2)


async def test_what_is_not_there_or_revoked_cannot_be_updated(store: KeyStore) -> None:
    await store.add(key(1))
    revoked = await store.revoke(key(1).id, now=100.0)
    assert await store.update(key(1).id, "premium") is None
    assert await store.update("key_0000000000000000", "premium") is None
    assert await store.list_keys(tenant="", include_revoked=True) == [revoked]


async def test_the_youngest_good_keys_come_first(store: KeyStore) -> None:
    for number, created in {1: 100.0, 2: 400.0, 3: 200.0, 4: 300.0}.items():
        await store.add(key(number, created=created))
    await store.revoke(key(4).id, now=500.0)
    assert await store.recent(2) == [key(2, created=400.0), key(3, created=200.0)]
    assert len(await store.recent(10)) == 3


async def test_lists_are_by_tenant_and_oldest_first(store: KeyStore) -> None:
    young, old = key(1, created=300.0), key(2, created=100.0)
    foreign = key(3, tenant="other", created=200.0)
    for added in (young, old, foreign):
        await store.add(added)
    assert await store.list_keys(tenant="acme", include_revoked=False) == [old, young]
    assert await store.list_keys(tenant="", include_revoked=False) == [old, foreign, young]
    assert await store.list_keys(tenant="nobody", include_revoked=False) == []


async def test_the_migrated_tables_are_those_that_the_store_uses(engine: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"include_name": _is_ours, "compare_type": True})
        return list(compare_metadata(context, sql_key_store.metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name in sql_key_store.metadata.tables


async def test_no_column_holds_the_secret(sqlite_engine: AsyncEngine, tmp_path: Path) -> None:
    secret = keys.new_secret(b"s" * 32)
    await SqlKeyStore(sqlite_engine).add(keys.describe(secret, tenant="acme", tier="free", name="", now=0))
    stored = _bytes_in(tmp_path)
    assert keys.hash_of(secret).encode() in stored
    assert secret.removeprefix(keys.PREFIX).encode() not in stored


def _bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_a_database_without_tables_is_an_error_that_says_so(sqlite_url: str) -> None:
    assert await _failure_of(sqlite_url) is Reason.DATABASE_UNAVAILABLE


async def test_a_database_that_nobody_serves_is_an_error_that_says_so() -> None:
    assert await _failure_of(f"postgresql://nobody@127.0.0.1:{free_port()}/keys") is Reason.DATABASE_UNAVAILABLE


async def _failure_of(url: str) -> Reason:
    async with open_engine(database_url(url, home="", owner=OWNER)) as engine:
        with pytest.raises(ShoalError) as refused:
            await SqlKeyStore(engine).find(key(1).hash)
    return refused.value.reason
