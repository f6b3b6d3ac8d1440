"""Films that are left out one by one, each with its reason; ``exclusions.csv`` names some of public sets.

A film is named by its path in the manifest, or by its file's name without folder, with or without ending,
so that one table serves wherever a data set was put and in whatever form.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from model.csv_tables import read_table

COLUMNS = ("path", "reason")
EXCLUDE_HELP = "films to leave out (path,reason), as model/exclusions.csv"


def read_exclusions(path: Path) -> dict[str, str]:
    """Return the reason of each film that a table names.

    Parameters
    ----------
    path
        CSV file with the columns `COLUMNS`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no CSV in UTF-8, a column is missing, or a row lacks a name or a reason.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no table at {path}: expected a CSV file with the columns path,reason")
    names, listed = read_table(path)
    if missing := set(COLUMNS) - set(names):
        raise ValueError(f"{path.name} has no column {sorted(missing)}: expected path,reason")
    rows = [((row["path"] or "").strip(), (row["reason"] or "").strip()) for _, row in listed]
    if not all(name and reason for name, reason in rows):
        raise ValueError(f"{path.name}: expected a name and a reason in every row")
    return dict(rows)


def reason_of(path: str, excluded: Mapping[str, str]) -> str:
    """Return why a film of a manifest is left out; empty where it is not."""
    return next((excluded[name] for name in names_of(path) if name in excluded), "")


def names_of(path: str) -> tuple[str, ...]:
    """Return the names by which a table may mean a film, the most exact first."""
    file = PurePosixPath(path)
    return path, file.name, file.stem


def unknown_names(paths: Iterable[str], excluded: Iterable[str]) -> list[str]:
    """Return the names of a table that mean none of the films."""
    meant = {name for path in paths for name in names_of(path)}
    return sorted(name for name in excluded if name not in meant)
