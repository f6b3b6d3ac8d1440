"""Figures as a table that a spreadsheet opens: a row per figure, and an empty cell where there is none."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

COLUMNS = ("set", "fold", "figure", "value", "low", "high", "n", "method")

Row = tuple[str, str, str, dict[str, Any]]
"""Set, fold (or ``mean``), name and the figure as ``metrics.json`` holds it."""


def write_figures(path: Path, rows: Iterable[Row]) -> None:
    """Write a row per figure: the columns of `COLUMNS`; what is not defined has no value, and says why."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for chosen, fold, name, figure in rows:
            writer.writerow([chosen, fold, name, *(figure[key] for key in COLUMNS[3:])])
