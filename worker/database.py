"""Engine and transactions: SQLite embedded, PostgreSQL in production, one code."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, DateTime, Engine, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

HIDE_PARAMETERS = True
"""An error of the database must not repeat a row: it ends in a log, and the row names a patient."""
SQLITE_BUSY_MS = 10_000
"""How long a writer waits for another; with BEGIN IMMEDIATE it is a queue, not a failure."""
SQLITE_PRAGMAS = (
    "journal_mode = WAL",
    # A commit precedes the Success of a C-STORE: NORMAL would not sync it.
    "synchronous = FULL",
    f"busy_timeout = {SQLITE_BUSY_MS}",
    "foreign_keys = ON",
)


class _ClockNow(FunctionElement[datetime]):
    """The database's own clock: many machines have many."""

    type = DateTime()
    inherit_cache = True
    name = "clock_now"


@compiles(_ClockNow, "sqlite")
def _now_sqlite(element: _ClockNow, compiler: SQLCompiler, **kw: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f', 'now')"


@compiles(_ClockNow, "postgresql")
def _now_postgresql(element: _ClockNow, compiler: SQLCompiler, **kw: Any) -> str:
    return "clock_timestamp()"


def open_engine(url: str) -> Engine:
    """Make an engine with the settings that the promises rest on.

    Connections are opened on first use, so an engine may be made before a process forks.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        return create_engine(
            parsed,
            pool_pre_ping=True,
            pool_size=5,
            connect_args={"connect_timeout": 5},
            hide_parameters=HIDE_PARAMETERS,
        )
    if parsed.get_backend_name() != "sqlite":
        raise ValueError(f"database_url: expected postgresql:// or sqlite://, got {parsed.drivername}://")
    engine = create_engine(parsed, hide_parameters=HIDE_PARAMETERS)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, record: ConnectionPoolEntry) -> None:
    # The driver would begin transactions by its own rules; `_begin_sqlite` does it by ours.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in SQLITE_PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once: read-then-write in a deferred transaction fails under load, untimed."""
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def write(engine: Engine) -> Iterator[Session]:
    """One transaction that may write: commit at the end, roll back on an exception."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def read(engine: Engine) -> Iterator[Session]:
    """One transaction that only reads, and waits for nobody."""
    with Session(engine.execution_options(reading=True), expire_on_commit=False) as session:
        yield session


def now(session: Session) -> datetime:
    """The moment by the database's clock, in UTC."""
    moment = session.scalar(select(_ClockNow()))
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if moment is None:  # pragma: no cover - a database without a clock
        raise RuntimeError("the database gave no time")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
