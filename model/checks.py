"""``python -m model.checks``: what is wrong with a manifest of films, before hours are spent on it."""

import argparse
import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model import data
from model.command_edge import one_line_errors
from model.config import DataConfig
from model.evaluation_sets import names_its_patient
from model.exclusions import EXCLUDE_HELP, read_exclusions
from model.near_duplicates import MOST_BITS, close_pairs, look_at_all

CACHE = Path.home() / ".cache" / "cxr-worker" / "looks.json"
SHOWN = 10
"""Examples of each kind in the report in words; the JSON holds all."""


@dataclass(frozen=True)
class Report:
    """What the checks found."""

    films: int
    """Films that were looked at."""
    counts: dict[str, dict[str, int]]
    """Films by source, then by label."""
    errors: list[str] = field(default_factory=list)
    """What makes training wrong or impossible."""
    warnings: list[str] = field(default_factory=list)
    """What makes a figure worth less than it seems."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Reason by path of the films that cannot be used."""
    near_duplicates: list[dict[str, Any]] = field(default_factory=list)
    """Pairs that look alike and stand in different subsets."""

    def in_words(self) -> str:
        """Return the report as it is printed."""
        lines = [f"{self.films} films"]
        lines += [
            f"  {source or 'no source'}: " + ", ".join(f"{label} {n}" for label, n in sorted(labels.items()))
            for source, labels in sorted(self.counts.items())
        ]
        for path, reason in list(self.unreadable.items())[:SHOWN]:
            lines.append(f"  cannot be used: {path}: {reason}")
        for pair in self.near_duplicates[:SHOWN]:
            lines.append(
                f"  look alike ({pair['bits']} of 256 bits differ): {pair['first']} ({pair['first_subset']}) "
                f"and {pair['second']} ({pair['second_subset']})"
            )
        lines += [f"error: {error}" for error in self.errors]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([*lines, "nothing to object" if not (self.errors or self.warnings) else ""]).rstrip()


def check(
    films: Sequence[data.Film],
    folder: Path,
    subset_of: Mapping[str, str],
    cache: Path | None = None,
    most_bits: int = MOST_BITS,
) -> Report:
    """Look at every film and return what is wrong.

    Parameters
    ----------
    films
        As `model.data.leave_out` keeps them.
    folder
        Their paths are relative to it.
    subset_of
        Subset (or fold) of each path; films without one are looked at, but belong to no side.
    cache
        See `model.near_duplicates.look_at_all`.
    most_bits
        Films whose hashes differ in at most so many bits look alike.
    """
    looks = look_at_all(folder, [film.path for film in films], cache)
    unreadable = {film.path: look.reason for film, look in zip(films, looks, strict=True) if look.reason}
    seen = [i for i, look in enumerate(looks) if not look.reason]
    hashes_NW = np.array([looks[i].words for i in seen], np.uint64).reshape(len(seen), -1)
    duplicates = [
        {
            "first": films[seen[i]].path,
            "second": films[seen[j]].path,
            "first_subset": subset_of.get(films[seen[i]].path, ""),
            "second_subset": subset_of.get(films[seen[j]].path, ""),
            "bits": bits,
        }
        for i, j, bits in close_pairs(hashes_NW, most_bits)
    ]
    apart = [
        pair
        for pair in duplicates
        if pair["first_subset"] and pair["second_subset"] and pair["first_subset"] != pair["second_subset"]
    ]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for film in films:
        counts[film.source][film.label] += 1
    errors = [f"{len(unreadable)} films cannot be used"] if unreadable else []
    warnings = [*_no_patients(films), *_lonely_classes(films), *_one_source_per_class(films)]
    if apart:
        warnings.append(
            f"{len(apart)} pairs of films look alike and stand in different subsets: if they are copies, the "
            "figures are too good. Give both the same value in the column group"
        )
    plain = {source: dict(labels) for source, labels in counts.items()}
    return Report(len(films), plain, errors, warnings, unreadable, apart)


def _no_patients(films: Sequence[data.Film]) -> list[str]:
    if any(film.group or names_its_patient(film) for film in films):
        return []
    return [
        "no film names its patient (patient_id) or group: films of one patient may be learned and tested, "
        "and every interval is too narrow"
    ]


def _lonely_classes(films: Sequence[data.Film]) -> list[str]:
    units: dict[str, set[int]] = defaultdict(set)
    times: Counter[str] = Counter()
    for film, unit in zip(films, data.group_units(films), strict=True):
        units[film.label].add(int(unit))
        times[film.label] += 1
    return [
        f"all {times[label]} films of class {label} are of one patient or group: they cannot be parted, so "
        "the class is either learned or tested, and what is learned may be the patient"
        for label, members in sorted(units.items())
        if len(members) == 1 and times[label] > 1
    ]


def _one_source_per_class(films: Sequence[data.Film]) -> list[str]:
    sources: dict[str, set[str]] = defaultdict(set)
    for film in films:
        sources[film.label].add(film.source)
    if len({film.source for film in films}) < 2:
        return []
    return [
        f"class {label} comes from {next(iter(names)) or 'no source'} alone: a network can learn the place "
        "instead"
        for label, names in sorted(sources.items())
        if len(names) == 1
    ]


def write_report(report: Report, path: Path) -> None:
    """Write the report as JSON."""
    path.write_text(json.dumps(dataclasses.asdict(report), indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 1 if something makes training wrong."""
    parser = argparse.ArgumentParser(prog="python -m model.checks", description="Check a manifest of films.")
    parser.add_argument("--data", type=Path, required=True, metavar="MANIFEST", help="the manifest of films")
    parser.add_argument("--split", type=Path, metavar="FILE", help="split file (path,subset)")
    parser.add_argument("--exclude", type=Path, metavar="FILE", help=EXCLUDE_HELP)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the report goes as JSON")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="FILE", help="what was seen before")
    parser.add_argument(
        "--most-bits", type=int, default=MOST_BITS, metavar="N",
        help=f"films whose 256-bit hashes differ in at most N bits look alike ({MOST_BITS})",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    with one_line_errors(parser):
        config = DataConfig(left_out_films=read_exclusions(options.exclude) if options.exclude else {})
        everything = data.read_manifest(options.data, config.labels)
        subset_of = (
            data.read_split(options.split) if options.split else data.split_films(everything, config, 0)
        )
        films, left_out = data.leave_out(everything, config)
        report = check(films, options.data.parent, subset_of, options.cache, options.most_bits)
        if options.json:
            write_report(report, options.json)
    print(report.in_words())
    print(f"left out: {dict(left_out) or 'none'}")
    return 1 if report.errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
