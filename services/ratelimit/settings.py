"""Settings of the limiter."""

from pathlib import Path
from typing import Annotated

import msgspec

from meshkit.server_urls import check_database_url, check_redis_url
from meshkit.settings import GrpcServiceSettings, Port, failed_checks
from services.ratelimit.buckets.bucket import Limit
from services.ratelimit.domains.domain_file import Domains, read_domains
from services.ratelimit.limits import Limits, tier_limits
from services.ratelimit.limits_file import read_limits
from services.ratelimit.tiers import Tiers, parse_tiers
from services.ratelimit.watched_files import naming, read_file, read_files

OWNER = "ratelimit"
"""The owner of the limiter's tables, for the name of its SQLite file and for migrations."""


class RatelimitSettings(GrpcServiceSettings, frozen=True, kw_only=True):
    """What the limiter is told."""

    limits_redis_url: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            description="Redis for token buckets, reservations and the register of limiters; "
            "maxmemory-policy noeviction.",
        ),
    ] = "redis://127.0.0.1:8151/0"
    envoy_port: Annotated[
        Port, msgspec.Meta(description="The port on 127.0.0.1 where the limiter speaks Envoy's own protocol.")
    ] = 8102
    limiters: Annotated[
        int,
        msgspec.Meta(ge=1, le=100, description="How many limiters share the limits, at least; they count each other."),
    ] = 1
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
    look_ups: Annotated[
        str,
        msgspec.Meta(
            description="How many requests without a good key an address may send, and how many keys that are not in "
            "memory it may ask about at the same time: per second/at once."
        ),
    ] = "10/100"
    limits_file: Annotated[
        str,
        msgspec.Meta(
            description="YAML file with limits of tiers, tenants and routes, read again when it changes; "
            "see docs/limits.md. Empty: none."
        ),
    ] = ""
    fail_open_routes: Annotated[
        str,
        msgspec.Meta(
            description="Comma-separated routes that Envoy lets pass when the limiter fails, as `shoal up` reads them; "
            "the limits file cannot make them fail closed."
        ),
    ] = ""
    domains_path: Annotated[
        str,
        msgspec.Meta(
            description="YAML file with a domain of descriptors for other Envoys, or a folder with several, read again "
            "when they change; see docs/domains.md. Empty: none."
        ),
    ] = ""
    require_api_key: Annotated[
        bool, msgspec.Meta(description="Whether callers without a key are refused instead of limited by address.")
    ] = False

    def parsed_tiers(self) -> Tiers:
        """Raises ValueError naming the fault."""
        return parse_tiers(self.tiers)

    def parsed_limits(self) -> Limits:
        """The limits as the file says now, or those of the tiers alone. Raises ValueError naming the fault."""
        tiers = self.parsed_tiers()
        if not self.limits_file:
            return Limits(tier_limits(tiers))
        text = read_file(Path(self.limits_file))
        fail_open = {name.strip() for name in self.fail_open_routes.split(",")}
        with naming(self.limits_file):
            return read_limits(text, tiers, fail_open=fail_open)

    def parsed_domains(self) -> Domains:
        """The domains as their files say now, or none. Raises ValueError naming the fault."""
        return read_domains(read_files(Path(self.domains_path))) if self.domains_path else {}

    def parsed_look_ups(self) -> Limit:
        """Raises ValueError naming the fault."""
        rate, _, capacity = self.look_ups.partition("/")
        try:
            return Limit(float(rate), int(capacity))
        except ValueError:
            raise ValueError("is no limit; write it as rate/burst, both above 0, such as 10/100") from None

    def faults(self) -> list[str]:
        return [
            *super().faults(),
            *failed_checks(
                {
                    "limits_redis_url": lambda: check_redis_url(self.limits_redis_url),
                    "tiers": self.parsed_tiers,
                    "limits_file": self._check_limits_file,
                    "domains_path": self.parsed_domains,
                    "look_ups": self.parsed_look_ups,
                    "database_url": lambda: check_database_url(self.database_url),
                }
            ),
        ]

    def _check_limits_file(self) -> None:
        # Faults of the tiers are told already.
        if not failed_checks({"tiers": self.parsed_tiers}):
            self.parsed_limits()
