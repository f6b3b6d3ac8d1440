"""Bring the database to the revision that this version needs."""

import argparse

from worker import context, folder, schema
from worker.cli import installation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the dry form."""
    parser.add_argument(
        "--check", action="store_true", help="only say which revision is there; exit 1 when it is old"
    )


def run(options: argparse.Namespace) -> int:
    """Back up the embedded database, then migrate."""
    current = context.get()
    settings, engine = current.settings, current.engine
    file, needed = installation.database_file(current), schema.head()
    if options.check:
        # Asking SQLite for a revision would make an empty database.
        before = schema.current(engine) if file is None or file.is_file() else None
        print(f"database at {before or 'no revision'}, needed {needed}")
        return 0 if before == needed else 1
    folder.prepare(settings.data)
    before = schema.current(engine)
    if before == needed:
        print(f"database is at {needed} already")
        return 0
    if before is not None and settings.database_url is None:
        print(f"backed up to {schema.back_up(settings)}")
    schema.upgrade(engine)
    print(f"database brought from {before or 'nothing'} to {schema.current(engine)}")
    return 0
