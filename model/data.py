"""A manifest of films becomes samples, and a split that never parts a patient or a group."""

import csv
import gzip
import hashlib
import io
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.config import Config, DataConfig, HeadConfig

EXPECTED = (
    "a manifest is a CSV file with the columns path,label and, where known, patient_id,source,view,"
    "age_group,group; path is relative to the manifest, label one of covid, pneumonia, normal, other, "
    "negative, unlabelled"
)
SUBSETS = ("train", "validation", "calibration", "test")


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
        else:
            kept.append(film)
    return kept, reasons


def group_units(films: Sequence[Film]) -> NDArray[np.int64]:
    """Number the sets of films that share a patient or a group, directly or through others (union-find).

    A film that names neither is a unit of its own.
    """
    parent = list(range(len(films)))

    def find(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    first: dict[tuple[str, str], int] = {}
    for index, film in enumerate(films):
        for key in (("patient", film.patient_id), ("group", film.group)):
            if key[1]:
                parent[find(index)] = find(first.setdefault(key, index))
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(find(index), len(numbers)) for index in range(len(films))], np.int64)


def split_films(films: Sequence[Film], config: DataConfig, seed: int) -> dict[str, str]:
    """Return the subset of each path; a unit of `group_units` is never parted.

    A unit with a film of a held-out source is tested, or calibrates if all its held-out films come from a
    calibration source and its turn comes; every other unit trains, validates or tests. Units are drawn
    within strata of equal sources and labels, so that each subset has its share of every class. Films that
    `leave_out` leaves out get no subset, but they join what they share a patient or group with.
    """
    units: dict[int, list[Film]] = defaultdict(list)
    for film, unit in zip(films, group_units(films), strict=True):
        units[int(unit)].append(film)
    strata: dict[str, list[list[Film]]] = defaultdict(list)
    for members in units.values():
        strata["|".join(sorted({f"{film.source}:{film.label}" for film in members}))].append(members)
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
    text = "path,subset\n" + "".join(f"{film},{subset}\n" for film, subset in sorted(subset_of.items()))
    data = gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode()
    path.write_bytes(data)


def read_split(path: Path) -> dict[str, str]:
    """Read what `write_split` wrote.

    Raises
    ------
    ValueError
        If a column is missing or a subset is unknown.
    """
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    reader = csv.DictReader(io.StringIO(data.decode()))
    if not {"path", "subset"} <= set(reader.fieldnames or ()):
        raise ValueError(f"{path.name}: a split file has the columns path,subset")
    subset_of = {row["path"]: row["subset"] for row in reader}
    unknown = sorted(set(subset_of.values()) - set(SUBSETS))
    if unknown:
        raise ValueError(f"{path.name}: unknown subset {unknown}, expected one of {list(SUBSETS)}")
    return subset_of


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


def head_answer(film: Film, head: HeadConfig) -> float:
    """Return 1.0 for yes, 0.0 for no, NaN where this head is not asked."""
    asked = not head.sources or film.source in head.sources
    if not asked or f"{film.source}:{film.label}" in head.exclude:
        return math.nan
    if film.label in head.positive:
        return 1.0
    return 0.0 if film.label in head.negative else math.nan


def targets(films: Sequence[Film], config: Config) -> NDArray[np.float32]:
    """Return the answers ``targets_NK``: float32, 1 yes, 0 no, NaN not asked."""
    rows = [[head_answer(film, head) for head in config.heads] for film in films]
    return np.array(rows, np.float32).reshape(len(films), len(config.heads))


def sampling_weights(films: Sequence[Film], config: Config) -> NDArray[np.float64]:
    """Return the probability of drawing each film, so that neither class nor view tells the answer.

    Each head gets its share of the draws. Within a head every view gets draws in proportion to its films,
    half of them for yes and half for no: sicker patients are filmed lying down, and the network must not
    learn that. Views in which only one answer occurs are joined.
    """
    weights: NDArray[np.float64] = np.zeros(len(films))
    total = sum(head.share for head in config.heads)
    for head in config.heads:
        answers = {i: a for i, film in enumerate(films) if not math.isnan(a := head_answer(film, head))}
        views: dict[str, set[float]] = defaultdict(set)
        for index, answer in answers.items():
            views[films[index].view].add(answer)
        cells: dict[tuple[str, float], list[int]] = defaultdict(list)
        for index, answer in answers.items():
            view = films[index].view if len(views[films[index].view]) == 2 else "joined"
            cells[view, answer].append(index)
        mass = Counter[str]()
        for (view, _), members in cells.items():
            mass[view] += len(members)
        for (view, _), members in cells.items():
            sides = sum((view, answer) in cells for answer in (0.0, 1.0))
            weights[members] += head.share / total * mass[view] / len(answers) / sides / len(members)
    if not weights.any():
        raise ValueError("no training film answers any head: " + EXPECTED)
    weights /= weights.sum()
    return weights
