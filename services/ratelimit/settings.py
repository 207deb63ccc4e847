"""Settings of the limiter."""

from typing import Annotated

import msgspec
from sqlalchemy.engine import URL

from meshkit.database import database_url
from meshkit.redis import check_url
from meshkit.settings import Port, ServiceSettings, failed_checks
from services.ratelimit.tiers import Tiers, parse_tiers

OWNER = "ratelimit"
"""The owner of the limiter's tables, for the name of its SQLite file and for migrations."""


class RatelimitSettings(ServiceSettings, frozen=True, kw_only=True):
    """What the limiter is told."""

    limits_redis_url: Annotated[
        str, msgspec.Meta(min_length=1, description="Redis for token buckets; maxmemory-policy noeviction.")
    ] = "redis://127.0.0.1:8151/0"
    envoy_port: Annotated[
        Port, msgspec.Meta(description="The port on 127.0.0.1 where the limiter speaks Envoy's own protocol.")
    ] = 8102
    home: Annotated[str, msgspec.Meta(min_length=1, description="The data directory; SQLite files are there.")] = (
        ".shoal"
    )
    database_url: Annotated[
        str, msgspec.Meta(description="PostgreSQL or SQLite for keys and tenants. Empty: a SQLite file in the home.")
    ] = ""
    tiers: Annotated[
        str,
        msgspec.Meta(
            description="Tiers as name=rate/burst, in tokens per second and tokens, separated by commas; "
            "the tier anonymous is for callers without a key."
        ),
    ] = "anonymous=1/10,free=1/10,basic=10/50,premium=100/200,bench=100000/200000"
    require_api_key: Annotated[
        bool, msgspec.Meta(description="Whether callers without a key are refused instead of limited by address.")
    ] = False

    def database(self) -> URL:
        """Where the tables are. Raises ValueError for a URL that cannot be used."""
        return database_url(self.database_url, home=self.home, owner=OWNER)

    def parsed_tiers(self) -> Tiers:
        """Raises ValueError naming the fault."""
        return parse_tiers(self.tiers)

    def faults(self) -> list[str]:
        return [
            *super().faults(),
            *failed_checks(
                {
                    "limits_redis_url": lambda: check_url(self.limits_redis_url),
                    "tiers": self.parsed_tiers,
                    "database_url": self.database,
                }
            ),
        ]
