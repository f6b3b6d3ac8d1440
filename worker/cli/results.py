"""List results from the database: a table, or JSON or CSV, filtered."""

import argparse
import csv
import json
import sys
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker import database
from worker.cli import installation
from worker.cli.terminal import visible
from worker.queries import ledger
from worker.states import ImageState

COLUMNS = (
    *("image_id", "received_at", "state", "reason", "reason_detail"),
    *("decision", "probability", "threshold", "model_name", "model_version", "analysed_at", "ended_at"),
    *("patient_id", "accession_number", "study_date", "modality"),
    *("study_instance_uid", "series_instance_uid", "sop_instance_uid", "calling_aet"),
    *("sr_sop_instance_uid", "sc_sop_instance_uid", "deliveries", "deliveries_sent", "deliveries_proved"),
    "fell_back_to",
)
"""Columns of the view, in its order."""
SHOWN = {
    "image_id": "image",
    "received_at": "received (UTC)",
    "state": "state",
    "decision": "decision",
    "probability": "P",
    "reason": "reason",
    "delivered": "delivered",
}
"""Columns of the table, with their headings; they fit on 80 characters."""
SHOWN_WIDE = {**SHOWN, "study_date": "study date", "modality": "modality"}
WIDE = 110
"""From so many characters on there is room for the wide table."""
WHOLE = frozenset({"image_id", "state", "decision", "reason"})
"""Columns of which no word is ever broken."""

CAPTION = "Research only. Not for diagnosis. All columns: --json, --csv."


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
        "--limit", type=_count, default=1000, metavar="N", help="rows at most, newest first (1000)"
    )


def run(options: argparse.Namespace) -> int:
    """Print the rows that the filters leave."""
    current = installation.find()
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
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "expected a date or a moment in ISO 8601, such as 2024-01-31 or 2024-01-31T08:00+01:00, "
            f"came {text!r}"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, came {text!r}")
    return int(text)


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
    """How far the deliveries are: `not proved` is an end, where a destination is not asked.

    A report that some destination took in another form only is said too.
    """
    total, sent, proved = row["deliveries"], row["deliveries_sent"], row["deliveries_proved"]
    if not total:
        return None
    if sent < total:
        words = f"{sent} of {total} sent"
    elif proved == total:
        words = "proved"
    else:
        words = "proof awaited" if row["state"] == ImageState.ANALYSED else "not proved"
    return f"{words}, as {row['fell_back_to']}" if row["fell_back_to"] else words


def _write_csv(rows: list[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, fieldnames=(*COLUMNS, "delivered"))
    writer.writeheader()
    writer.writerows(rows)


def _show(rows: list[dict[str, Any]]) -> None:
    console = Console()
    shown = SHOWN_WIDE if console.width >= WIDE else SHOWN
    table = Table(box=None, padding=(0, 1, 0, 0), caption=CAPTION)
    for name, heading in shown.items():
        # Ten characters: a date, with its time below it.
        width = 10 if name == "received_at" else None
        table.add_column(heading, no_wrap=name in WHOLE, overflow="fold", min_width=width)
    for row in rows:
        cells = {**row, "probability": _percent(row["probability"]), "received_at": _second(row)}
        # As text: a header may hold what rich takes for markup.
        table.add_row(*(Text("" if cells[name] is None else visible(cells[name])) for name in shown))
    console.print(table)


def _percent(probability: float | None) -> str | None:
    return None if probability is None else f"{100 * probability:.1f} %"


def _second(row: dict[str, Any]) -> str:
    return datetime.fromisoformat(row["received_at"]).strftime("%Y-%m-%d %H:%M:%S")
