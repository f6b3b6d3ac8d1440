"""Films without a manifest: a folder per class, or a tree of DICOM files with a table of labels."""

import csv
from collections.abc import Sequence
from pathlib import Path

from dicom_io.errors import NotDicom
from dicom_io.part10 import PARSE_FAILURES
from model.manifest import Film
from model.transforms import PICTURES, is_dicom

COLUMNS = ("path", "label", "patient_id", "source", "view", "age_group", "group", "licence")
KEYS = ("path", "sop_instance_uid", "study_instance_uid", "patient_id")
"""Columns by which a table of labels may name DICOM files, tried in this order."""


def write_manifest(path: Path, films: Sequence[Film]) -> None:
    """Write films as a manifest that `model.manifest.read_manifest` reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([getattr(film, column) for column in COLUMNS] for film in films)


def pictures_below(root: Path, folder: str) -> list[str]:
    """Return the PNG and JPEG files below ``root/folder``, in order; paths are relative to `root`."""
    paths = (root / folder).rglob("*")
    return sorted(str(path.relative_to(root)) for path in paths if path.suffix.lower() in PICTURES)


def folder_per_class(root: Path, labels: Sequence[str]) -> list[Film]:
    """Return the films of ``root/<label>/**``: PNG, JPEG or DICOM; paths are relative to `root`.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no film in it.
    ValueError
        If a folder is named after no label.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}: expected one folder of films per label in it")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    unknown = [path.name for path in folders if path.name.lower() not in labels]
    if unknown:
        raise ValueError(f"{root}: folders {unknown} are named after no label, expected {list(labels)}")
    films = [
        Film(str(path.relative_to(root)), folder.name.lower())
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in PICTURES or (path.is_file() and is_dicom(path))
    ]
    if not films:
        raise FileNotFoundError(f"no film in {root}: expected PNG, JPEG or DICOM files in a folder per label")
    return films


def dicom_tree(root: Path, table: Path, labels: Sequence[str]) -> list[Film]:
    """Return the DICOM files below `root` that a table of labels names; paths are relative to `root`.

    Parameters
    ----------
    root
        Folder of DICOM files, whatever their names.
    table
        CSV file with the column ``label`` and one of `KEYS`; what has an empty label is passed over.
    labels
        Labels that there may be.

    Returns
    -------
    list of Film
        With Patient ID (0010,0020) and View Position (0018,5101) from the header (PS3.3 C.7.1.1, C.8.1.2).

    Raises
    ------
    FileNotFoundError
        If a file is missing, or no DICOM file has a label.
    ValueError
        If the table has no key or no label, gives one key two labels, or one that is not in `labels`.
    dicom_io.errors.NotDicom
        If a file that says to be DICOM cannot be parsed; the message names it.
    """
    from pydicom import dcmread

    label_of, key = _labels(table, labels)
    films = []
    for path in sorted(path for path in root.rglob("*") if path.is_file() and is_dicom(path)):
        relative = str(path.relative_to(root))
        try:
            header = dcmread(path, stop_before_pixels=True)
        except PARSE_FAILURES as error:
            raise NotDicom(f"expected a DICOM file, {relative} is none: {type(error).__name__}") from error
        names = {
            "path": relative,
            "sop_instance_uid": str(header.get("SOPInstanceUID", "")),
            "study_instance_uid": str(header.get("StudyInstanceUID", "")),
            "patient_id": str(header.get("PatientID", "")),
        }
        if label := label_of.get(names[key]):
            view = str(header.get("ViewPosition", "") or "unknown")
            films.append(Film(relative, label, names["patient_id"], view=view))
    if not films:
        raise FileNotFoundError(f"no DICOM file below {root} has a label in {table.name} by its {key}")
    return films


def _labels(table: Path, labels: Sequence[str]) -> tuple[dict[str, str], str]:
    if not table.is_file():
        raise FileNotFoundError(f"no table of labels at {table}: expected a CSV file with label and {KEYS}")
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = reader.fieldnames or ()
        key = next((key for key in KEYS if key in names), None)
        if key is None or "label" not in names:
            raise ValueError(f"{table.name}: expected the column label and one of {list(KEYS)}")
        label_of: dict[str, str] = {}
        for row in reader:
            if label_of.setdefault(row[key].strip(), row["label"].strip()) != row["label"].strip():
                raise ValueError(f"{table.name}: a {key} has two labels")
    if unknown := sorted(set(label_of.values()) - {"", *labels}):
        raise ValueError(f"{table.name}: unknown label {unknown}, expected one of {list(labels)}")
    return label_of, key
