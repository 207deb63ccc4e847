"""Whether the addresses of databases and Redis servers can be used, found out without their clients where that is sure.

Settings are checked by themselves, before anything starts, and importing the clients takes several times as long as all
the rest of that.
"""

import re

_PLAIN_REDIS = re.compile(r"redis://[a-z0-9.-]+:[1-9]\d{0,3}(/\d{1,3})?")


def check_redis_url(url: str) -> None:
    """Raises ValueError if no client can be made of the URL, which is not repeated, for it may hold a password."""
    if _PLAIN_REDIS.fullmatch(url):
        return
    from redis.asyncio import ConnectionPool

    try:
        ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        raise ValueError("must be a URL such as redis://127.0.0.1:6379/0") from None


def check_database_url(url: str) -> None:
    """Raises ValueError for a URL that names no database we speak to. An empty one stands for SQLite files."""
    if not url:
        return
    from meshkit.database import database_url

    database_url(url, home="", owner="")
