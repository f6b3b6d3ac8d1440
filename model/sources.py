"""Films without a manifest: a folder per class, or a tree of DICOM files with a table of labels."""

import csv
import io
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from model.csv_tables import read_table
from model.dicom_films import film_of
from model.manifest import COLUMNS, Film
from model.transforms import PICTURES, is_dicom
from model.whole_files import write_whole

KEYS = ("path", "sop_instance_uid", "study_instance_uid", "patient_id")
"""Columns by which a table of labels may name DICOM files, tried in this order."""
RADIOGRAPHS = ("CR", "DX", "DR", "RG", "RF", "SC", "OT", "")
"""Modality (0008,0060) of what may be a radiograph: the report or the CT of its study is none. Digitised film
and secondary captures say OT or nothing; DR and RG are older words."""

log = logging.getLogger(__name__)


def write_manifest(path: Path, films: Sequence[Film]) -> None:
    """Write films as a manifest that `model.manifest.read_manifest` reads, whole or not at all."""
    write_whole(path, _manifest(films))


def check_overwriting(path: Path, films: Sequence[Film]) -> None:
    """Refuse to write a manifest over another one, which a person may have made; over an equal one is fine.

    Raises
    ------
    FileExistsError
        If something else than the manifest of these films is at `path`.
    """
    if path.exists() and not (path.is_file() and path.read_bytes() == _manifest(films)):
        raise FileExistsError(
            f"{path} is there already and is not what would be written: move it away, or name where to "
            "write by --out"
        )


def _manifest(films: Sequence[Film]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    writer.writerows([getattr(film, column) for column in COLUMNS] for film in films)
    return file.getvalue().encode("utf-8")


def pictures_below(root: Path, folder: str) -> list[str]:
    """Return the PNG and JPEG files below ``root/folder``, in order; paths are relative to `root`."""
    paths = (root / folder).rglob("*")
    return sorted(str(path.relative_to(root)) for path in paths if path.suffix.lower() in PICTURES)


def link_films(paths: Iterable[str], root: Path, folder: Path) -> None:
    """Put links to what of `root` holds the films into `folder`, so that their paths hold there too.

    Parameters
    ----------
    paths
        Paths of the films, relative to `root`.
    root
        Where they lie.
    folder
        Is made where there is none; links of the same names are set anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for top in sorted({PurePosixPath(path).parts[0] for path in paths}):
        link = folder / top
        if link.is_symlink():
            link.unlink()
        link.symlink_to((root / top).resolve())


def folder_per_class(root: Path, labels: Sequence[str]) -> list[Film]:
    """Return the films of ``root/<label>/**``: PNG, JPEG or DICOM; paths are relative to `root`.

    Other files are counted in the log, by ending; names that begin with a dot are no films.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no film in it.
    ValueError
        If a folder is named after no label.
    dicom_io.errors.NotDicom
        If a file that says to be DICOM cannot be parsed; the message names it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}: expected one folder of films per label in it")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    unknown = [path.name for path in folders if path.name.lower() not in labels]
    if unknown:
        raise ValueError(f"{root}: folders {unknown} are named after no label, expected {list(labels)}")
    films: list[Film] = []
    passed_over: Counter[str] = Counter()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            relative, label = path.relative_to(root), folder.name.lower()
            if _is_hidden(relative):
                continue
            if path.is_dir():
                if path.is_symlink():
                    passed_over["linked folder"] += 1
            elif path.suffix.lower() in PICTURES:
                films.append(Film(str(relative), label))
            elif is_dicom(path):
                films.append(film_of(root, str(relative), label)[0])
            else:
                passed_over[path.suffix.lower() or "no ending"] += 1
    if beside := sum(path.suffix.lower() in PICTURES for path in root.iterdir() if path.is_file()):
        passed_over["in no folder of a label"] += beside
    if passed_over:
        log.warning(
            "%d entries of %s are passed over, no PNG, JPEG or DICOM files in a folder per label: %s",
            passed_over.total(), root, dict(passed_over.most_common()),
        )  # fmt: skip
    if not films:
        raise FileNotFoundError(f"no film in {root}: expected PNG, JPEG or DICOM files in a folder per label")
    return films


def dicom_tree(root: Path, table: Path, labels: Sequence[str]) -> list[Film]:
    """Return the DICOM files below `root` that a table of labels names; paths are relative to `root`.

    The log says how many rows named no file, how many files have no label, and what is no radiograph: a table
    by patient or study names reports and other examinations too.

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
        With patient, view and age group from the header, see `model.dicom_films`.

    Raises
    ------
    FileNotFoundError
        If a file is missing, or no DICOM file has a label.
    ValueError
        If the table is no CSV in UTF-8, has no key or no label, a row lacks one of the two, or a key has two
        labels or one that is not in `labels`.
    dicom_io.errors.NotDicom
        If a file that says to be DICOM cannot be parsed; the message names it.
    """
    label_of, key = _labels(table, labels)
    films: list[Film] = []
    named: set[str] = set()
    passed_over: Counter[str] = Counter()
    for path in sorted(path for path in root.rglob("*") if _is_a_film_below(root, path)):
        film, header = film_of(root, str(path.relative_to(root)))
        name = {"path": film.path, "patient_id": film.patient_id, **header}[key]
        named.add(name)
        if not (label := label_of.get(name)):
            passed_over["no label"] += 1
        elif header["modality"] not in RADIOGRAPHS:
            passed_over[f"modality {header['modality']}"] += 1
        else:
            films.append(replace(film, label=label))
    if not films:
        raise FileNotFoundError(
            f"no DICOM radiograph below {root} has a label in {table.name} by its {key}; "
            f"passed over: {dict(passed_over) or 'none'}"
        )
    # Never which: the key may be a patient's id.
    if missing := len(label_of.keys() - named):
        log.warning(
            "%d of the %d rows of %s name no file by their %s", missing, len(label_of), table.name, key
        )
    if passed_over:
        log.warning("%d DICOM files are passed over: %s", passed_over.total(), dict(passed_over))
    return films


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _is_a_film_below(root: Path, path: Path) -> bool:
    """Return whether it is a DICOM file; a hidden one is none, nor is a link to one that is met itself."""
    if _is_hidden(path.relative_to(root)) or not path.is_file():
        return False
    again = path.is_symlink() and path.resolve().is_relative_to(root.resolve())
    return not again and is_dicom(path)


def _labels(table: Path, labels: Sequence[str]) -> tuple[dict[str, str], str]:
    if not table.is_file():
        raise FileNotFoundError(f"no table of labels at {table}: expected a CSV file with label and {KEYS}")
    names, rows = read_table(table)
    key = next((key for key in KEYS if key in names), None)
    if key is None or "label" not in names:
        raise ValueError(f"{table.name}: expected the column label and one of {list(KEYS)}")
    label_of: dict[str, str] = {}
    for line, row in rows:
        named, label = row[key], row["label"]
        if named is None or label is None:
            raise ValueError(
                f"{table}, line {line}: expected {len(names)} values, {key} and label among them, came fewer"
            )
        named, label = named.strip(), label.strip()
        # It would name every file whose header has none.
        if label and not named:
            raise ValueError(f"{table}, line {line}: the label {label} has no {key}: fill it in")
        if label_of.setdefault(named, label) != label:
            raise ValueError(f"{table.name}: a {key} has two labels")
    if unknown := sorted(set(label_of.values()) - {"", *labels}):
        raise ValueError(f"{table.name}: unknown label {unknown}, expected one of {list(labels)}")
    return label_of, key
