"""List results from the database: a table, or JSON or CSV, filtered."""

import argparse
import csv
import json
import sys
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from worker import context, database
from worker.queries import ledger
from worker.states import ImageState

SHOWN = (
    "image_id",
    "received_at",
    "state",
    "decision",
    "probability",
    "reason",
    "study_date",
    "modality",
    "delivered",
)
"""Columns of the table; JSON and CSV hold all of the view."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add filters and forms."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a JSON array with all columns")
    form.add_argument("--csv", action="store_true", help="CSV with all columns")
    parser.add_argument("--since", type=_moment, metavar="DATE", help="received on or after, ISO 8601, UTC")
    parser.add_argument("--until", type=_moment, metavar="DATE", help="received before, ISO 8601, UTC")
    parser.add_argument("--patient", metavar="ID", help="Patient ID")
    parser.add_argument("--study", metavar="UID", help="Study Instance UID")
    parser.add_argument("--decision", choices=("positive", "negative", "indeterminate"))
    parser.add_argument("--state", choices=[state.value for state in ImageState])
    parser.add_argument(
        "--limit", type=int, default=1000, metavar="N", help="rows at most, newest first (1000)"
    )


def run(options: argparse.Namespace) -> int:
    """Print the rows that the filters leave."""
    current = context.get()
    given = {name: getattr(options, name) for name in ledger.FILTERS if getattr(options, name) is not None}
    with database.read(current.engine) as session:
        rows = [_plain(row) for row in ledger.results(session, given, options.limit)]
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        print()
    elif options.csv:
        _write_csv(rows)
    else:
        _show(rows)
    return 0


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Moments as ISO 8601 in UTC, and how far the deliveries are in words."""
    plain = {name: _text(value) if name.endswith("_at") else value for name, value in row.items()}
    plain["delivered"] = _delivered(row)
    return plain


def _text(value: Any) -> str | None:
    if value is None:
        return None
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return str(moment.isoformat(timespec="milliseconds"))


def _delivered(row: dict[str, Any]) -> str | None:
    """`proved` when each delivery was confirmed by asking, `not proved` when one was only sent."""
    total, sent, proved = row["deliveries"], row["deliveries_sent"], row["deliveries_proved"]
    if not total:
        return None
    if sent < total:
        return f"{sent} of {total} sent"
    return "proved" if proved == total else "not proved"


def _write_csv(rows: list[dict[str, Any]]) -> None:
    if rows:
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table(*SHOWN, caption="Research only. Not for diagnosis.")
    for row in rows:
        probability = row["probability"]
        cells = {**row, "probability": None if probability is None else f"{100 * probability:.1f} %"}
        table.add_row(*("" if cells[name] is None else str(cells[name]) for name in SHOWN))
    Console().print(table, markup=False)
