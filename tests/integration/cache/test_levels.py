"""The levels together: what is found far is promoted, and one that fails or holds rubbish is passed over."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from meshkit.database import database_url, open_engine
from shoal.cache.v1 import cache_pb2 as pb
from tests import backends
from tests.backends import Valkey
from tests.integration.cache.cache_process import CacheProcess, cache_process
from tests.integration.cache.caller import MODEL_OUTPUT, RESPONSE, Caller, eventually
from tests.mesh_identity import signed

ALL_LEVELS = "response.levels=l1+l2+l3"
SOON_SECONDS = 20


@dataclass(slots=True)
class Mesh:
    """Where a cache process finds its servers. The Valkey for answers can be killed and emptied."""

    folder: Path
    valkey: Valkey
    state_url: str
    database: str

    @contextmanager
    def cache(self, **settings: str) -> Iterator[CacheProcess]:
        told = {"SHOAL_CACHE_POLICIES": ALL_LEVELS, "SHOAL_DATABASE_URL": self.database, **settings}
        with cache_process(self.folder, redis_url=self.valkey.url, state_url=self.state_url, **told) as process:
            yield process

    @asynccontextmanager
    async def caller(self, **settings: str) -> AsyncIterator[Caller]:
        """A caller at a new process."""
        with self.cache(**settings) as process:
            async with Caller(process, signed("acme")) as caller:
                yield caller

    @asynccontextmanager
    async def sql(self) -> AsyncIterator[AsyncConnection]:
        """A connection beside those of the process."""
        url = database_url(self.database, home=str(self.folder), owner="cache")
        async with open_engine(url) as engine, engine.connect() as connection:
            yield connection

    async def redis_holds(self, key: str, data: bytes | None) -> None:
        """Replaces what Redis has under the key; None removes it."""
        async with Redis.from_url(self.valkey.url) as redis:
            (name,) = await redis.keys(f"*{key}")
            await (redis.set(name, data) if data is not None else redis.delete(name))


@pytest.fixture(params=["sqlite", "postgres"])
def mesh(request: pytest.FixtureRequest, state_url: str, tmp_path: Path) -> Iterator[Mesh]:
    database = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    with backends.running_valkey(tmp_path) as valkey:
        yield Mesh(tmp_path, valkey, state_url, database)


async def level_of(caller: Caller, key: str, policy: pb.Policy.ValueType = RESPONSE) -> str:
    """Where it is found; empty if it is not."""
    return (await caller.open(key, policy)).hit.level


async def test_what_only_the_database_has_left_is_promoted_to_every_nearer_level(mesh: Mesh, key: str) -> None:
    async with mesh.caller() as caller:
        kept = await caller.keep(key, b"one", b"two", tags=["news"], worth=pb.Worth(cost_usd=0.5))
    await mesh.redis_holds(key, None)
    async with mesh.caller() as caller:
        first = (await caller.open(key)).hit
        assert [await level_of(caller, key), first.level] == ["l1", "l3"]
        levels = list((await caller.get(key)).entries)
        assert [each.level for each in levels] == ["l1", "l2", "l3"]
        assert {each.ttl_seconds for each in levels} == {kept.ttl_seconds}, "its expiry stays what it was"
        assert {(*each.events, *each.tags, each.worth.cost_usd) for each in levels} == {(b"one", b"two", "news", 0.5)}


async def test_nothing_is_promoted_to_levels_that_the_policy_does_not_name(mesh: Mesh, key: str) -> None:
    async with mesh.caller() as caller:
        await caller.keep(key, b"output", policy=MODEL_OUTPUT)
        await mesh.redis_holds(key, None)
        found = [await level_of(caller, key, MODEL_OUTPUT) for _ in range(3)]
        assert found == ["l3", "l2", "l2"]
        assert (await caller.levels())["l1"] == pb.LevelStats(level="l1")


async def test_when_redis_is_killed_the_levels_on_either_side_go_on(mesh: Mesh, key: str) -> None:
    other_key = "cd" * 32
    async with mesh.caller() as caller:
        await caller.keep(key, b"answer")
        await caller.keep(key, b"output", policy=MODEL_OUTPUT)
        mesh.valkey.kill()
        assert await level_of(caller, key) == "l1"
        assert await level_of(caller, key, MODEL_OUTPUT) == "l3"
        assert await level_of(caller, other_key) == ""
        assert (await caller.keep(other_key, b"answer")).stored
        assert list((await caller.get(other_key)).failed_levels) == ["l2"]
        assert (await caller.levels())["l2"].failures >= 3
        mesh.valkey.start()

        async def is_promoted() -> bool:
            return await level_of(caller, key, MODEL_OUTPUT) == "l2"

        await eventually(is_promoted, "the return of Redis", within_seconds=SOON_SECONDS)


async def test_without_redis_and_database_memory_goes_on(mesh: Mesh, key: str) -> None:
    async with mesh.caller() as caller:
        mesh.valkey.kill()
        async with mesh.sql() as sql:
            await sql.execute(text("ALTER TABLE cache_entries RENAME TO cache_entries_gone"))
            await sql.commit()
        try:
            assert (await caller.keep(key, b"answer")).stored
            assert await level_of(caller, key) == "l1"
            assert not (await caller.keep(key, b"output", policy=MODEL_OUTPUT)).stored
            assert await level_of(caller, key, MODEL_OUTPUT) == ""
        finally:
            async with mesh.sql() as sql:
                await sql.execute(text("ALTER TABLE cache_entries_gone RENAME TO cache_entries"))
                await sql.commit()


async def test_corrupt_bytes_are_a_miss_and_a_count_and_are_replaced(mesh: Mesh, key: str) -> None:
    async with mesh.caller() as caller:
        await caller.keep(key, b"output", policy=MODEL_OUTPUT)
        await mesh.redis_holds(key, b"rubbish")
        assert await level_of(caller, key, MODEL_OUTPUT) == "l3"
        assert await level_of(caller, key, MODEL_OUTPUT) == "l2", "replaced by what the database has"
        await mesh.redis_holds(key, b"")
        async with mesh.sql() as sql:
            await sql.execute(text("UPDATE cache_entries SET data = :data"), {"data": b"\x02" * 50})
            await sql.commit()
        assert await level_of(caller, key, MODEL_OUTPUT) == ""
        assert not (await caller.get(key, MODEL_OUTPUT)).entries
        levels = await caller.levels()
        assert (levels["l2"].corrupt, levels["l2"].misses) == (2, 2)
        assert (levels["l3"].corrupt, levels["l3"].misses) == (1, 1)
        assert (levels["l2"].failures, levels["l3"].failures) == (0, 0)
        assert (await caller.keep(key, b"new", policy=MODEL_OUTPUT)).stored
        assert [list(each.events) for each in (await caller.get(key, MODEL_OUTPUT)).entries] == [[b"new"]] * 2


LOCKS = {"sqlite": "BEGIN EXCLUSIVE", "postgresql": "LOCK TABLE cache_entries IN ACCESS EXCLUSIVE MODE"}


async def test_a_locked_database_costs_a_count_and_no_call(mesh: Mesh, key: str) -> None:
    other_key = "cd" * 32
    async with mesh.caller(SHOAL_L3_TIMEOUT_SECONDS="0.2") as caller:
        async with mesh.sql() as sql:
            await sql.execute(text(LOCKS[sql.dialect.name]))
            kept = await caller.keep(key, b"output", policy=MODEL_OUTPUT)
            assert kept.stored
            assert await level_of(caller, key, MODEL_OUTPUT) == "l2"
            assert await level_of(caller, other_key, MODEL_OUTPUT) == ""
            assert (await caller.levels())["l3"].failures >= 1
            await sql.rollback()

        async def is_kept_again() -> bool:
            await caller.keep(key, b"output", policy=MODEL_OUTPUT)
            return "l3" in [each.level for each in (await caller.get(key, MODEL_OUTPUT)).entries]

        await eventually(is_kept_again, "the return of the database", within_seconds=SOON_SECONDS)


async def test_levels_that_no_policy_names_are_not_there(state_url: str, tmp_path: Path, key: str) -> None:
    policies = [f"{name}.levels=l1" for name in ("response", "model_output", "tool_result")]
    nowhere = "redis://127.0.0.1:1/0"
    with cache_process(
        tmp_path, redis_url=nowhere, state_url=state_url, SHOAL_CACHE_POLICIES=",".join(policies)
    ) as cache:
        async with Caller(cache, signed("acme")) as caller:
            await caller.keep(key, b"answer")
            assert await level_of(caller, key) == "l1"
            assert list(await caller.levels()) == ["l1"]
        assert not [name for name in cache.metrics() if 'level="l2"' in name or 'level="l3"' in name]


async def test_expired_rows_are_cleared_away(mesh: Mesh, key: str) -> None:
    async with mesh.caller() as caller:
        await caller.keep(key, b"output", policy=MODEL_OUTPUT)
    async with mesh.sql() as sql:
        await sql.execute(text("UPDATE cache_entries SET expires = 1"))
        await sql.commit()
    async with mesh.caller(), mesh.sql() as sql:

        async def is_empty() -> bool:
            rows = (await sql.execute(text("SELECT count(*) FROM cache_entries"))).scalar_one()
            await sql.rollback()
            return bool(rows == 0)

        await eventually(is_empty, "the purge", within_seconds=SOON_SECONDS)


async def test_a_time_to_live_that_is_tuned_is_told_by_log_and_metric(
    valkey_url: str, state_url: str, tmp_path: Path, key: str
) -> None:
    policies = "conversation_context.ttl=1, conversation_context.ttl_min=1, conversation_context.ttl_max=50"
    told = {"SHOAL_CACHE_POLICIES": policies, "SHOAL_TTL_TUNING_SECONDS": "1"}
    with cache_process(tmp_path, redis_url=valkey_url, state_url=state_url, **told) as cache:
        async with Caller(cache, signed("acme")) as caller:

            async def is_longer() -> bool:
                for number in range(200):
                    await caller.open(f"{number:04d}{key[4:]}", pb.POLICY_CONVERSATION_CONTEXT)
                return cache.metrics()['shoal_cache_ttl_seconds{policy="conversation_context"}'] == 1.25

            await eventually(is_longer, "a longer time to live", within_seconds=SOON_SECONDS)
        changes = 'shoal_cache_ttl_changes_total{direction="up",policy="conversation_context"}'
        assert cache.metrics()[changes] == 1
    assert "fewer than 70% of the look-ups hit" in cache.log.read_text()
