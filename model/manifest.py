"""A manifest becomes a list of films with their labels; what has none yet: `model.sources`."""

import hashlib
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_io.side_views import SIDE_VIEWS, is_worded_as_side_view
from model.config import DataConfig
from model.csv_tables import read_table
from model.exclusions import reason_of

EXPECTED = (
    "a manifest is a CSV file with the columns path,label and, where known, patient_id,source,view,"
    "age_group,group; path is relative to the manifest, label one of covid, pneumonia, normal, other, "
    "negative, unlabelled"
)
SIDE_VIEW = "L"
"""The view of lateral and oblique films, however a manifest or a header words it."""
AGE_GROUPS = ("", "adult", "child", "unknown")
"""Age groups that a manifest may hold; of any other nobody could tell whether it means children."""


@dataclass(frozen=True)
class Film:
    """One row of a manifest."""

    path: str
    """Path relative to the manifest's folder."""
    label: str
    patient_id: str = ""
    source: str = ""
    view: str = ""
    age_group: str = ""
    group: str = ""
    licence: str = ""
    ambiguous: bool = False
    """Whether other rows name the same file: which of them it is, nobody knows."""


COLUMNS = tuple(name for name in Film.__dataclass_fields__ if name != "ambiguous")
"""Columns of a manifest that are read; it may have others."""


def read_manifest(path: Path, labels: Sequence[str]) -> list[Film]:
    """Read the films of a manifest.

    Raises
    ------
    FileNotFoundError
        If there is no such file; the message says what is expected.
    ValueError
        If it is not CSV in UTF-8, a column is missing or is a known one otherwise spelt, a path is empty, a
        label is not one of `labels`, or an age group not one of `AGE_GROUPS`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no manifest at {path}: {EXPECTED}")
    columns, listed = read_table(path)
    missing = {"path", "label"} - set(columns)
    if missing:
        raise ValueError(f"{path.name} has no column {sorted(missing)}: {EXPECTED}")
    _check_spelling(path.name, columns)
    names = [name for name in COLUMNS if name in columns]
    rows = [{name: (row[name] or "").strip() for name in names} for _, row in listed]
    # Two spellings of one path are one file.
    files = [posixpath.normpath(row["path"]) for row in rows]
    times = Counter(files)
    films = [Film(**_known(row), ambiguous=times[file] > 1) for row, file in zip(rows, files, strict=True)]
    _check(films, path.name, labels)
    return films


def _check_spelling(name: str, columns: Sequence[str]) -> None:
    """Refuse ``PatientID`` for ``patient_id``: passed over, it would part patients and keep laterals."""
    meant = {_plain(column): column for column in COLUMNS}
    for column in columns:
        known = meant.get(_plain(column), column)
        if known not in columns:
            raise ValueError(
                f"{name}: expected the column {known}, came {column}: rename it, to {known} if it means "
                f"that, else to another name. {EXPECTED}"
            )


def _plain(column: str) -> str:
    return "".join(letter for letter in column.lower() if letter.isalnum())


def view_of(text: str) -> str:
    """Return a view as a manifest names it: `SIDE_VIEW` for a lateral or oblique one, any other as it is."""
    plain = text.upper().replace("_", " ").strip()
    side = plain == SIDE_VIEW or plain in SIDE_VIEWS or is_worded_as_side_view(plain)
    return SIDE_VIEW if side else text


def _known(row: dict[str, str]) -> dict[str, str]:
    """Return the row with view and age group in the words by which films are left out."""
    values = {"view": view_of(row.get("view", "")), "age_group": row.get("age_group", "").lower()}
    return {**row, **values}


def _check(films: Sequence[Film], name: str, labels: Sequence[str]) -> None:
    if not films:
        raise ValueError(f"{name} holds no film: {EXPECTED}")
    unknown = sorted({film.label for film in films} - set(labels))
    if unknown:
        raise ValueError(f"{name}: unknown label {unknown}, expected one of {list(labels)}")
    if strange := sorted({film.age_group for film in films} - set(AGE_GROUPS)):
        raise ValueError(
            f"{name}: unknown age group {strange}, expected one of {list(AGE_GROUPS[1:])} or nothing: write "
            "child for patients below 18 years, who are left out"
        )
    if not all(film.path for film in films):
        raise ValueError(f"{name}: a row without a path")


def manifest_sha256(path: Path) -> str:
    """Return the hash of the manifest file: the data hash that a model keeps."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def leave_out(films: Iterable[Film], config: DataConfig) -> tuple[list[Film], Counter[str]]:
    """Return the films that may be learned or scored, and how many were left out for which reason."""
    kept: list[Film] = []
    reasons: Counter[str] = Counter()
    for film in films:
        if film.ambiguous:
            reasons["path given more than once"] += 1
        elif film.label in config.left_out_labels:
            reasons[f"label {film.label}"] += 1
        elif film.view in config.left_out_views:
            reasons[f"view {film.view}"] += 1
        elif film.age_group in config.left_out_ages:
            reasons[f"age group {film.age_group}"] += 1
        elif reason := reason_of(film.path, config.left_out_films):
            reasons[reason] += 1
        else:
            kept.append(film)
    return kept, reasons
