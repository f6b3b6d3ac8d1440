"""A manifest, a folder per class or a tree of DICOM files becomes a list of films with their labels."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.config import DataConfig
from model.exclusions import reason_of

EXPECTED = (
    "a manifest is a CSV file with the columns path,label and, where known, patient_id,source,view,"
    "age_group,group; path is relative to the manifest, label one of covid, pneumonia, normal, other, "
    "negative, unlabelled"
)


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


def read_manifest(path: Path, labels: Sequence[str]) -> list[Film]:
    """Read the films of a manifest.

    Raises
    ------
    FileNotFoundError
        If there is no such file; the message says what is expected.
    ValueError
        If a column is missing, a path is empty, or a label is not one of `labels`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no manifest at {path}: {EXPECTED}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = {"path", "label"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path.name} has no column {sorted(missing)}: {EXPECTED}")
        columns = set(reader.fieldnames or ()) - {"ambiguous"}
        names = [name for name in Film.__dataclass_fields__ if name in columns]
        rows = [{name: (row[name] or "").strip() for name in names} for row in reader]
    times = Counter(row["path"] for row in rows)
    films = [Film(**row, ambiguous=times[row["path"]] > 1) for row in rows]
    _check(films, path.name, labels)
    return films


def _check(films: Sequence[Film], name: str, labels: Sequence[str]) -> None:
    if not films:
        raise ValueError(f"{name} holds no film: {EXPECTED}")
    unknown = sorted({film.label for film in films} - set(labels))
    if unknown:
        raise ValueError(f"{name}: unknown label {unknown}, expected one of {list(labels)}")
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
