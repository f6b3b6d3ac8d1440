"""Splits and folds that never part a patient or a group, and the files that keep them."""

import argparse
import csv
import dataclasses
import gzip
import io
import logging
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.command_edge import one_line_errors
from model.config import DataConfig
from model.csv_tables import read_table
from model.exclusions import EXCLUDE_HELP, read_exclusions
from model.manifest import Film, leave_out, read_manifest
from model.whole_files import write_whole

log = logging.getLogger(__name__)

SPLIT = "split.csv.gz"
"""Name of the split file in the folders of a run and of a model."""
SUBSETS = ("train", "validation", "calibration", "test")


def group_units(films: Sequence[Film]) -> NDArray[np.int64]:
    """Number the sets of films that share a patient or a group, directly or through others.

    A film that names neither is a unit of its own.
    """
    first: dict[tuple[str, str], int] = {}
    return number_sets(
        len(films),
        (
            (index, first.setdefault(key, index))
            for index, film in enumerate(films)
            for key in (("patient", film.patient_id), ("group", film.group))
            if key[1]
        ),
    )


def number_sets(count: int, pairs: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Number the sets of items that pairs join, directly or through others (union-find), by first item."""
    parent = list(range(count))

    def find(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for one, other in pairs:
        parent[find(one)] = find(other)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(find(index), len(numbers)) for index in range(count)], np.int64)


def split_films(films: Sequence[Film], config: DataConfig, seed: int) -> dict[str, str]:
    """Return the subset of each path; a unit of `group_units` is never parted.

    A unit with a film of a held-out source is tested, or calibrates if all its held-out films come from a
    calibration source and its turn comes; every other unit trains, validates or tests. Units are drawn
    within strata of equal sources and labels, so that each subset has its share of every class. Films that
    `leave_out` leaves out get no subset, but they join what they share a patient or group with.
    """
    strata = _strata(films)
    subset_of: dict[str, str] = {}
    generator = random.Random(seed)
    for _, stratum in sorted(strata.items()):
        generator.shuffle(stratum)
        parts = _parts({film.source for members in stratum for film in members}, config)
        # A random start keeps many strata of one unit from all falling into the same subset.
        start = generator.random()
        for turn, members in enumerate(stratum):
            subset = _subset_at((turn + start) / len(stratum) % 1.0, parts)
            subset_of.update((film.path, subset) for film in leave_out(members, config)[0])
    return subset_of


def folds(films: Sequence[Film], k: int, seed: int, config: DataConfig | None = None) -> dict[str, int]:
    """Return the fold, 0 to k - 1, of each path; a unit of `group_units` is never parted.

    Units are dealt within strata of equal sources and labels, the largest first and each to the fold that
    holds the fewest films of its stratum, so that the folds have their share of every class. Films that
    `leave_out` leaves out get no fold, but they join what they share a patient or group with.

    Raises
    ------
    ValueError
        If `k` is below 2, or the films that are kept have fewer units than there are folds.
    """
    if k < 2:
        raise ValueError(f"folds must be at least 2, are {k}")
    config = config or DataConfig()
    generator = random.Random(seed)
    fold_of: dict[str, int] = {}
    total = [0] * k
    strata = _strata(films)
    came = 0
    for _, stratum in sorted(strata.items()):
        held = [0] * k
        generator.shuffle(stratum)
        for members in sorted(stratum, key=len, reverse=True):
            kept = leave_out(members, config)[0]
            fold = min(range(k), key=lambda number: (held[number], total[number]))
            held[fold] += len(kept)
            total[fold] += len(kept)
            came += bool(kept)
            fold_of.update((film.path, fold) for film in kept)
    if came < k:
        raise ValueError(f"expected at least {k} patients or groups for {k} folds, came {came}")
    _tell_lacks(films, fold_of, k)
    return fold_of


def _tell_lacks(films: Sequence[Film], fold_of: Mapping[str, int], k: int) -> None:
    """Tell a class that some folds lack: they take no part in the figures of its questions."""
    folds_of: dict[str, set[int]] = defaultdict(set)
    for film in films:
        if film.path in fold_of:
            folds_of[film.label].add(fold_of[film.path])
    for label, members in sorted(folds_of.items()):
        if len(members) < k:
            log.warning("class %s is in %d of %d folds: the others lack it", label, len(members), k)


def fold_split(
    films: Sequence[Film], fold_of: Mapping[str, int], fold: int, config: DataConfig, seed: int
) -> dict[str, str]:
    """Return the split that tests one fold; the others train and, in a part of their own, validate.

    The scored fold chooses nothing: the epoch, the threshold and the calibration come from the others.

    Raises
    ------
    ValueError
        If no film is in that fold, or the fold file is of other films.
    """
    there = {film.path: fold_of[film.path] for film in films if film.path in fold_of}
    if not there and fold_of:
        raise ValueError(
            f"the fold file names none of the {len(films)} films: expected paths as {films[0].path}, came "
            f"{next(iter(fold_of))}. Give the folds of this manifest"
        )
    if fold not in there.values():
        raise ValueError(f"no film is in fold {fold}, there are {sorted(set(there.values()))}")
    if absent := len(fold_of) - len(there):
        log.warning("%d of the %d films of the fold file are not in the manifest", absent, len(fold_of))
    inner = dataclasses.replace(config, test_fraction=0.0, held_out_sources=(), calibration_sources=())
    units = group_units(films).tolist()
    tested = {unit for film, unit in zip(films, units, strict=True) if fold_of.get(film.path) == fold}
    # Films that are left out have no fold, but they still join the others.
    others = [film for film, unit in zip(films, units, strict=True) if unit not in tested]
    subset_of = split_films(others, inner, seed)
    return subset_of | {path: "test" for path, number in there.items() if number == fold}


def _strata(films: Sequence[Film]) -> dict[str, list[list[Film]]]:
    """Return the units, in strata of equal sources and labels."""
    units: dict[int, list[Film]] = defaultdict(list)
    for film, unit in zip(films, group_units(films), strict=True):
        units[int(unit)].append(film)
    strata: dict[str, list[list[Film]]] = defaultdict(list)
    for members in units.values():
        strata["|".join(sorted({f"{film.source}:{film.label}" for film in members}))].append(members)
    return strata


def _parts(sources: set[str], config: DataConfig) -> tuple[tuple[str, float], ...]:
    held = sources & set(config.held_out_sources)
    if held and held <= set(config.calibration_sources):
        return ("calibration", config.calibration_fraction), ("test", 1 - config.calibration_fraction)
    if held:
        return (("test", 1.0),)
    train = 1 - config.validation_fraction - config.test_fraction
    return ("train", train), ("validation", config.validation_fraction), ("test", config.test_fraction)


def _subset_at(position: float, parts: tuple[tuple[str, float], ...]) -> str:
    for name, size in parts:
        if position < size:
            return name
        position -= size
    return parts[-1][0]


def write_split(path: Path, subset_of: Mapping[str, str]) -> None:
    """Write `path,subset` rows; a name that ends in `.gz` is compressed, the same bytes each time."""
    _write(path, "subset", subset_of)


def read_split(path: Path) -> dict[str, str]:
    """Read what `write_split` wrote.

    Raises
    ------
    ValueError
        If the file is damaged, a column is missing, a subset is unknown, or a film is in two.
    """
    subset_of = _read(path, "subset")
    unknown = sorted(set(subset_of.values()) - set(SUBSETS))
    if unknown:
        raise ValueError(f"{path.name}: unknown subset {unknown}, expected one of {list(SUBSETS)}")
    return subset_of


def write_folds(path: Path, fold_of: Mapping[str, int]) -> None:
    """Write `path,fold` rows; a name that ends in `.gz` is compressed, the same bytes each time."""
    _write(path, "fold", {film: str(fold) for film, fold in fold_of.items()})


def read_folds(path: Path) -> dict[str, int]:
    """Read what `write_folds` wrote.

    Raises
    ------
    ValueError
        If the file is damaged, a column is missing, a fold is no number, or a film is in two.
    """
    fold_of = _read(path, "fold")
    odd = sorted({fold for fold in fold_of.values() if not fold.isdecimal()})
    if odd:
        raise ValueError(f"{path.name}: folds are numbers from 0, came {odd}")
    return {film: int(fold) for film, fold in fold_of.items()}


def _write(path: Path, column: str, value_of: Mapping[str, str]) -> None:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([("path", column), *sorted(value_of.items())])
    data = file.getvalue().encode()
    write_whole(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _read(path: Path, column: str) -> dict[str, str]:
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: expected a whole gzip file, came a damaged one: {error}") from error
    names, rows = read_table(path, data)
    if not {"path", column} <= set(names):
        kind = "split" if column == "subset" else "fold"
        raise ValueError(f"{path.name}: a {kind} file has the columns path,{column}")
    value_of: dict[str, str] = {}
    for line, row in rows:
        film, value = row["path"] or "", row[column] or ""
        if value_of.setdefault(film, value) != value:
            raise ValueError(
                f"{path}, line {line}: {film} is in {column} {value} after {column} {value_of[film]}: a film "
                "is in one, leave out the other row"
            )
    return value_of


def check_split(films: Sequence[Film], subset_of: Mapping[str, str], config: DataConfig) -> None:
    """Refuse a split that parts a unit, or that trains or validates on a held-out unit.

    Raises
    ------
    ValueError
        Naming the first film that breaks the rule.
    """
    subsets: dict[int, str] = {}
    held = set(config.held_out_sources)
    units = [int(unit) for unit in group_units(films)]
    held_units = {unit for film, unit in zip(films, units, strict=True) if film.source in held}
    for film, unit in zip(films, units, strict=True):
        if film.path not in subset_of:
            continue
        subset = subset_of[film.path]
        if subsets.setdefault(unit, subset) != subset:
            raise ValueError(f"the split parts a patient or group: {film.path} is in {subset}")
        if unit in held_units and subset in ("train", "validation"):
            raise ValueError(f"the split uses a held-out patient or group: {film.path} is in {subset}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.folds", description="Write a fold file.")
    parser.add_argument("--data", type=Path, required=True, metavar="MANIFEST", help="the manifest of films")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="fold file (path,fold)")
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="number of folds (5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (0)")
    parser.add_argument("--exclude", type=Path, metavar="FILE", help=EXCLUDE_HELP)
    options = parser.parse_args(arguments)
    with one_line_errors(parser):
        if options.out.resolve() == options.data.resolve():
            raise ValueError(f"{options.out} is the manifest itself: give another --out")
        films = read_manifest(options.data, DataConfig().labels)
        config = DataConfig(left_out_films=read_exclusions(options.exclude) if options.exclude else {})
        fold_of = folds(films, options.folds, options.seed, config)
        write_folds(options.out, fold_of)
    label_of = {film.path: film.label for film in films}
    for fold in range(options.folds):
        counts = Counter(label_of[path] for path, number in fold_of.items() if number == fold)
        print(f"fold {fold}: {counts.total()} films, {dict(sorted(counts.items()))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
