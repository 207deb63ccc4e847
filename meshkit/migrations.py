"""Brings an owner's tables up to date. Run once, before the services start."""

from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import URL

from meshkit.database import open_engine


async def migrate(url: URL, *, owner: str, scripts: Path) -> None:
    """Applies what is missing of the revisions in `<scripts>/versions`.

    Each owner counts its revisions in a table of its own, so that owners can share a database.
    """
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)

    def apply(connection: Connection) -> None:
        environment = EnvironmentContext(config, script, fn=lambda revision, _: script._upgrade_revs("head", revision))
        with environment:
            environment.configure(connection=connection, version_table=f"alembic_version_{owner}", render_as_batch=True)
            with environment.begin_transaction():
                environment.run_migrations()

    async with open_engine(url) as engine, engine.begin() as connection:
        await connection.run_sync(apply)
