"""The installation that a command reads: one that is there, never one that reading makes."""

from pathlib import Path

from worker import context
from worker.context import Context


class NoInstallation(Exception):
    """There is no database where the settings say; the message says where that is."""


def find() -> Context:
    """Return the context of an installation that exists.

    Raises
    ------
    NoInstallation
        The file of its database is absent; SQLite would make an empty one.
    """
    current = context.get()
    file = database_file(current)
    if file is not None and not file.is_file():
        raise NoInstallation(
            f"expected an installation in {file.parent}: no {file.name} there; is --data right?"
        )
    return current


def database_file(current: Context) -> Path | None:
    """Where the database is; None for one that is a server."""
    url = current.engine.url
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None
