"""Brings every owner's tables up to date."""

from importlib.resources import as_file, files

from launcher.settings import MigrateSettings
from meshkit.database import database_url
from meshkit.migrations import migrate

OWNERS = ("agent", "cache", "ratelimit")
"""The services that own tables; their revisions are in services/<owner>/migrations."""


async def migrate_all(settings: MigrateSettings) -> None:
    for owner in OWNERS:
        url = database_url(settings.database_url, home=settings.home, owner=owner)
        with as_file(files("services") / owner / "migrations") as scripts:
            await migrate(url, owner=owner, scripts=scripts)
