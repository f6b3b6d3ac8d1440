"""The COVID-19 Radiography Database, and which of its normal films are children."""

import logging
import re
from pathlib import Path, PurePosixPath

from model.manifest import Film
from model.sources import pictures_below
from model.workbook import read_rows

log = logging.getLogger(__name__)

NORMAL = "Normal"
FOLDERS = {
    # Folder: label, age group. All viral pneumonias are children of Kermany's hospital; of the normals, some.
    "COVID": ("covid", "unknown"),
    NORMAL: ("normal", "unknown"),
    "Lung_Opacity": ("pneumonia", "unknown"),
    "Viral Pneumonia": ("pneumonia", "child"),
}
NORMALS = 10_192
CHILDREN = range(63, 1404)
"""Numbers of the 1,341 normals from the children's hospital, by their pixels: see docs/data.md."""
SHEET = "Normal.metadata.xlsx"
"""Columns FILE NAME, FORMAT, SIZE, URL; a film is NORMAL-1 there and Normal-1.png in its folder."""
MISNUMBERED = range(8852, NORMALS + 1)
"""Numbers that `SHEET` gives these 1,341 films; the films of these numbers are RSNA's, see there."""
HOSPITAL = "paultimothymooney/chest-xray-pneumonia"
"""In the URL of a film from the children's hospital: the set of Kermany et al. 2018 as Kaggle has it."""


def radiography(root: Path) -> list[Film]:
    """Read the COVID-19 Radiography Database; its films carry no patient."""
    films: list[Film] = []
    for folder, (label, age) in FOLDERS.items():
        films += (
            normals(root)
            if folder == NORMAL
            else [
                Film(path, label, source="radiography", view="unknown", age_group=age)
                for path in pictures_below(root, f"{folder}/images")
            ]
        )
    return films


def normals(root: Path) -> list[Film]:
    """Return the normal films, children among them marked; warn of what leaves a doubt about a child.

    Raises
    ------
    ValueError
        If the sheet of sources is there, and is no workbook or lacks a column.
    """
    label, age = FOLDERS[NORMAL]
    paths = pictures_below(root, f"{NORMAL}/images")
    said = _from_hospital(root / SHEET) if paths else set()
    stray, strange, films = [], [], []
    for path in paths:
        name = PurePosixPath(path).stem.casefold()
        number = _number(name)
        if name in said and number not in CHILDREN:
            stray.append(path)
        elif number not in range(1, NORMALS + 1):
            strange.append(path)
        is_child = name in said or number in CHILDREN
        films.append(
            Film(path, label, source="radiography", view="unknown", age_group="child" if is_child else age)
        )
    if stray:
        log.warning(
            "%d normal films, %s the first, are children by %s and not by the numbers that are known "
            "(Normal-%d to Normal-%d): both are marked as children. Another version of the database? Look at "
            "them", len(stray), stray[0], SHEET, CHILDREN[0], CHILDREN[-1],
        )  # fmt: skip
    if strange:
        log.warning(
            "%d normal films, %s the first, are not named Normal-1 to Normal-%d: nobody knows whether they "
            "are children, their age group is unknown. Look at them before you train",
            len(strange), strange[0], NORMALS,
        )  # fmt: skip
    return films


def _from_hospital(sheet: Path) -> set[str]:
    """Return the films that the sheet gives to the children's hospital; none if it is the wrong sheet."""
    if not sheet.is_file():
        log.warning(
            "no %s in %s: children among the normal films are told by their numbers alone (Normal-%d to "
            "Normal-%d)", SHEET, sheet.parent, CHILDREN[0], CHILDREN[-1],
        )  # fmt: skip
        return set()
    rows = read_rows(sheet)
    if missing := {"FILE NAME", "URL"} - set(rows[0] if rows else ()):
        raise ValueError(f"{SHEET} has no column {sorted(missing)}")
    said = {row["FILE NAME"].casefold() for row in rows if HOSPITAL in row["URL"]}
    return set() if {_number(name) for name in said} == set(MISNUMBERED) else said


def _number(name: str) -> int | None:
    found = re.fullmatch(r"normal-(\d+)", name)
    return int(found[1]) if found else None
