"""The revision of the database: embedded it is brought up by itself, elsewhere a wrong one is refused."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from worker.settings import Settings

POSTGRES_LOCK = 0x43585257
"""Advisory lock, so that two that migrate at once do it one after the other ("CXRW")."""


class WrongRevision(Exception):
    """The database is not at the revision that this version needs; the message says what to run."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "worker:migrations")
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The revision that this version needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("the package holds no migration")
    return revision


def current(engine: Engine) -> str | None:
    """The revision of that database; None when it is empty."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine) -> None:
    """Bring the database to `head`, under a lock.

    Raises
    ------
    WrongRevision
        The database is at a revision that this version does not know.
    """
    with _without_foreign_keys(engine) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({POSTGRES_LOCK})")
        try:
            command.upgrade(_config(connection), "head")
        except CommandError as error:
            raise WrongRevision(
                f"database: expected revision {head()} or an older one, found one that a later version made "
                f"({error}); install that version, or start with a backup of before"
            ) from error


@contextmanager
def _without_foreign_keys(engine: Engine) -> Iterator[Connection]:
    """Open a connection on which SQLite can make a table anew that others refer to.

    It looks at the setting outside of transactions alone, so it is asked below SQLAlchemy, which begins one.
    """
    with engine.connect() as connection:
        if connection.dialect.name != "sqlite":
            yield connection
            return
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA foreign_keys = OFF")
        try:
            yield connection
        finally:
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.close()


def prepare(engine: Engine, settings: Settings) -> None:
    """Embedded: back up, then migrate. A database that was configured: refuse a wrong revision.

    Raises
    ------
    WrongRevision
        The configured database is not at `head`.
    """
    revision, needed = current(engine), head()
    if revision == needed:
        return
    if settings.database_url is not None:
        raise WrongRevision(
            f"database: expected revision {needed}, found {revision or 'an empty database'}; "
            "run `cxr-worker migrate` with the same settings, then start again"
        )
    if revision is not None:
        back_up(settings)
    upgrade(engine)


def back_up(settings: Settings) -> Path:
    """Copy the embedded database, consistent while it is in use; returns where."""
    source = settings.data / "cxr.sqlite3"
    target = settings.data / "backup" / f"cxr-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.sqlite3"
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with sqlite3.connect(source) as live, sqlite3.connect(target) as copy:
        live.backup(copy)
    shutil.copymode(source, target)
    return target
