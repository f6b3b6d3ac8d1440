"""What a model said of each film, as arrays and as ``predictions.csv``."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.csv_tables import read_table
from model.metrics import Bool, Float64, Judged, Scored, Units
from model.whole_files import write_whole

COLUMNS = (
    "path", "label", "source", "view", "unit", "patient_named", "probability", "threshold", "decision",
)  # fmt: skip
DECISIONS = {"positive": 1, "negative": -1, "indeterminate": 0}


@dataclass(frozen=True)
class Predictions:
    """N films, what is known of them, and what one model said."""

    path: Sequence[str]
    """Path in the manifest; it names the film."""
    label: Sequence[str]
    """The truth, as the manifest says it."""
    source: Sequence[str]
    """Where each film comes from."""
    view: Sequence[str]
    """How it was taken."""
    units: Units
    """The patients."""
    probability_N: Float64
    """Calibrated probability of COVID-19."""
    threshold: float | Float64
    """From this probability on a film counts as positive where nothing is left open."""
    decision: Sequence[str]
    """``positive``, ``negative`` or ``indeterminate``."""

    def scored(self, covid_label: str) -> Scored:
        """Return the films with their probability, to be measured."""
        return Scored(self.probability_N, self.is_covid(covid_label), self.units, self.threshold)

    def judged(self, covid_label: str) -> Judged:
        """Return the films with their decision, to be measured."""
        number_N = np.array([DECISIONS[decision] for decision in self.decision], np.int64)
        return Judged(number_N, self.is_covid(covid_label), self.units)

    def is_covid(self, covid_label: str) -> Bool:
        """Return the truth as yes or no."""
        return np.array([label == covid_label for label in self.label], bool)

    def ordered(self, paths: Sequence[str]) -> "Predictions":
        """Return the films of these paths, in their order."""
        row = {path: number for number, path in enumerate(self.path)}
        rows = [row[path] for path in paths]
        threshold = self.threshold if isinstance(self.threshold, float) else self.threshold[rows]
        label, source, view, decision = (
            [column[number] for number in rows]
            for column in (self.label, self.source, self.view, self.decision)
        )
        units = Units(self.units.number_N[rows], self.units.named_N[rows])
        return Predictions(
            list(paths), label, source, view, units, self.probability_N[rows], threshold, decision
        )


def write_predictions(path: Path, found: Predictions, heads: dict[str, NDArray[np.float64]]) -> None:
    """Write a row per film: the columns of `COLUMNS` and the logit of each head.

    ``unit`` numbers the patient or group within the manifest: it names nobody.
    """
    threshold_N = np.broadcast_to(np.asarray(found.threshold), found.probability_N.shape)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([*COLUMNS, *heads])
    for row in range(len(found.path)):
        known = (found.path[row], found.label[row], found.source[row], found.view[row])
        unit = (int(found.units.number_N[row]), "yes" if found.units.named_N[row] else "no")
        said = (repr(float(found.probability_N[row])), repr(float(threshold_N[row])), found.decision[row])
        writer.writerow([*known, *unit, *said, *(f"{logits[row]:.7g}" for logits in heads.values())])
    write_whole(path, file.getvalue().encode("utf-8"))


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote; the logits are left where they are.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a column is missing, a value makes no sense, or a film stands there twice.
    """
    columns, listed = read_table(path)
    if missing := set(COLUMNS) - set(columns):
        raise ValueError(
            f"{path.name}: expected predictions.csv of model.evaluate, has no column {sorted(missing)}"
        )
    rows = [{name: row[name] or "" for name in COLUMNS} for _, row in listed]
    paths = [row["path"] for row in rows]
    if not rows or len(set(paths)) < len(paths):
        raise ValueError(f"{path.name}: expected each film once, came {len(rows)} rows of {len(set(paths))}")
    unknown = {row["decision"] for row in rows} - set(DECISIONS)
    if unknown:
        raise ValueError(
            f"{path.name}: unknown decision {sorted(unknown)}, expected one of {list(DECISIONS)}"
        )
    try:
        probability_N, threshold_N = (
            np.array([float(row[name]) for row in rows]) for name in ("probability", "threshold")
        )
        number_N = np.array([int(row["unit"]) for row in rows], np.int64)
    except ValueError as error:
        raise ValueError(f"{path.name}: a number was expected: {error}") from error
    if not ((probability_N >= 0) & (probability_N <= 1)).all():
        raise ValueError(f"{path.name}: a probability does not lie in 0 to 1")
    units = Units(number_N, np.array([row["patient_named"] == "yes" for row in rows], bool))
    label, source, view, decision = (
        [row[name] for row in rows] for name in ("label", "source", "view", "decision")
    )
    return Predictions(paths, label, source, view, units, probability_N, threshold_N, decision)


def read_logits(path: Path, names: Sequence[str]) -> Float64:
    """Return ``logits_NK`` of heads or classes, which `write_predictions` wrote behind its own columns.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, a head has no column there, or a logit is no number.
    """
    columns, rows = read_table(path)
    if missing := set(names) - set(columns):
        raise ValueError(f"{path.name}: expected a column for each head, has none for {sorted(missing)}")
    try:
        return np.array([[float(row[name] or "") for name in names] for _, row in rows])
    except ValueError as error:
        raise ValueError(f"{path.name}: a logit was expected: {error}") from error
