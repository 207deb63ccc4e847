"""SQL databases: SQLite files by default, PostgreSQL by URL."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from meshkit.errors import Reason, ShoalError

_ASYNC_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}


def database_url(configured: str, *, home: str, owner: str) -> URL:
    """Where an owner's tables are: `configured`, or else the SQLite file `<home>/<owner>.db`.

    Raises ValueError for a URL that names no database we speak to.
    """
    if not configured:
        return URL.create("sqlite+aiosqlite", database=str(Path(home) / f"{owner}.db"))
    try:
        url = make_url(configured)
    except SQLAlchemyError:
        raise ValueError("is no database URL, such as postgresql://user@host/name") from None
    driver = _ASYNC_DRIVERS.get(url.drivername.partition("+")[0])
    if driver is None:
        raise ValueError(f"names {url.drivername!r}; Shoal speaks sqlite and postgresql")
    return url.set(drivername=driver)


@asynccontextmanager
async def open_engine(url: URL, *, lock_timeout_seconds: float = 5.0) -> AsyncIterator[AsyncEngine]:
    """A pooled engine, disposed of at the end. It connects on first use.

    A statement in SQLite waits so long for a lock, in a thread of its connection that nothing can interrupt.
    """
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(url, connect_args={"timeout": lock_timeout_seconds})
        event.listen(engine.sync_engine, "connect", _use_wal)
    else:
        engine = create_async_engine(url, pool_size=4, max_overflow=4, pool_timeout=2, pool_pre_ping=True)
    try:
        yield engine
    finally:
        await engine.dispose()


@contextmanager
def reported_as_unavailable() -> Iterator[None]:
    """Turns a database that cannot be used into ShoalError DATABASE_UNAVAILABLE.

    Errors that speak of the statement (integrity, syntax) pass: they are for the caller or bugs of ours.
    """
    try:
        yield
    except (OSError, TimeoutError) as error:
        raise _unavailable() from error
    except SQLAlchemyError as error:
        if isinstance(error, DBAPIError) and not _is_outage(error):
            raise
        raise _unavailable() from error


def _is_outage(error: DBAPIError) -> bool:
    return error.connection_invalidated or type(error).__name__ in {"OperationalError", "InterfaceError", "DBAPIError"}


def _unavailable() -> ShoalError:
    return ShoalError(Reason.DATABASE_UNAVAILABLE, "The database cannot be reached now; try again.")


def _use_wal(connection: Any, _record: object) -> None:
    """Readers and one writer at a time do not block each other, and a commit need not wait for the disk."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
