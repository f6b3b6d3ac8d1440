"""Several manifests become one: paths, patients and groups stay true, and copies are held together."""

import hashlib
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from model.config import LABELS
from model.folds import number_sets
from model.manifest import Film, read_manifest
from model.near_duplicates import MOST_BITS, close_pairs, look_at_all
from model.origins import ORIGINS

ELSEWHERE = ("nih14",)
"""Names by which patients are known in several collections, beside the collections' own."""
TOO_LARGE = 0.05
"""A group of more than this share of all films holds more than copies."""

log = logging.getLogger(__name__)


def join(manifests: Sequence[Path], out: Path) -> list[Film]:
    """Return the films of several manifests as rows of one.

    Paths become relative to the folder of `out`. A patient is known by its source and its number there:
    ids that do not begin with the name of a source get that of their film's. Groups of different manifests
    are different groups. Columns beyond those of `Film` are left behind.

    Parameters
    ----------
    manifests
        Manifests as `model.manifest.read_manifest` reads them.
    out
        Where the one manifest will lie.

    Raises
    ------
    FileNotFoundError
        If a manifest or the folder of `out` is missing.
    ValueError
        If a manifest makes no sense, is `out` itself, names a film that another names too, or has films
        without a source.
    """
    if not out.parent.is_dir():
        raise FileNotFoundError(f"no folder at {out.parent}: expected one for {out.name}")
    if out.resolve() in {path.resolve() for path in manifests}:
        raise ValueError(f"{out} is one of the manifests to join: give another --out")
    listed = [read_manifest(path, LABELS) for path in manifests]
    for path, films in zip(manifests, listed, strict=True):
        if nameless := sum(not film.source for film in films):
            raise ValueError(
                f"{path}: {nameless} of {len(films)} films name no source, so their patients could be taken "
                "for those of other films: fill the column source, or write the manifest with --source NAME"
            )
    names = {film.source for films in listed for film in films} | {*ORIGINS, *ELSEWHERE}
    owner: dict[Path, Path] = {}
    joined = []
    for number, (manifest, films) in enumerate(zip(manifests, listed, strict=True), 1):
        for film in films:
            file = manifest.parent.resolve() / film.path
            # One manifest may name a file twice: training leaves such films out and says so.
            if owner.setdefault(file.resolve(), manifest) != manifest or manifests.count(manifest) > 1:
                raise ValueError(f"{file} is in {owner[file.resolve()]} and in {manifest}: leave one out")
            joined.append(
                replace(
                    film,
                    path=Path(os.path.relpath(file, out.parent.resolve())).as_posix(),
                    patient_id=_patient(film, names),
                    group=film.group and f"{number}-{film.group}",
                )
            )
    return joined


def _patient(film: Film, names: set[str]) -> str:
    known = any(film.patient_id.startswith(f"{name}-") for name in names)
    return film.patient_id if known or not film.patient_id else f"{film.source}-{film.patient_id}"


def keep_shares(films: Sequence[Film], wanted: Sequence[str]) -> list[Film]:
    """Return the films without those of which a share alone is wanted.

    Who stays is drawn by a hash of the patient, or of the file's name where no patient is known: the same
    each time, wherever the films lie.

    Parameters
    ----------
    films
        Films of all sources.
    wanted
        Texts ``SOURCE:LABEL=SHARE``, the share from 0 to 1.

    Raises
    ------
    ValueError
        If a text is none of these, or no film is of that source and label.
    """
    shares: dict[str, float] = {}
    there = Counter(f"{film.source}:{film.label}" for film in films)
    for text in wanted:
        name, _, share = text.rpartition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            shares[name] = -1
        if not 0 <= shares[name] <= 1:
            raise ValueError(f"--keep {text}: expected SOURCE:LABEL=SHARE with a share from 0 to 1")
        if name not in there:
            raise ValueError(
                f"--keep {text}: no film is of {name!r}, there are {dict(sorted(there.items()))}"
            )
    return [film for film in films if _draw(film) < shares.get(f"{film.source}:{film.label}", 1)]


def _draw(film: Film) -> float:
    """Return a number from 0 to below 1 that belongs to the patient, or to the file's name."""
    text = f"{film.source}/{film.patient_id or PurePosixPath(film.path).name}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


def hold_copies_together(
    films: Sequence[Film], folder: Path, cache: Path | None = None, most_bits: int = MOST_BITS
) -> tuple[list[Film], str]:
    """Return the films with one group for all that look alike, and in words what was found.

    All pairs are compared, as `model.checks` does. Groups that the films had already are joined where a
    film of one looks like a film of the other. A film that is alone gets no group.

    Parameters
    ----------
    films
        Films of all sources.
    folder
        Their paths are relative to it.
    cache
        See `model.near_duplicates.look_at_all`.
    most_bits
        Films whose 256-bit hashes differ in at most so many bits look alike.
    """
    looks = look_at_all(folder, [film.path for film in films], cache)
    seen = [index for index, look in enumerate(looks) if not look.reason]
    if unseen := [(film.path, look.reason) for film, look in zip(films, looks, strict=True) if look.reason]:
        log.warning(
            "%d films cannot be used and were not compared, the first: %s: %s", len(unseen), *unseen[0]
        )
    hashes_NW = np.array([looks[index].words for index in seen], np.uint64).reshape(len(seen), -1)
    pairs = [(seen[i], seen[j]) for i, j, _ in close_pairs(hashes_NW, most_bits)]
    first: dict[str, int] = {}
    pairs += [(index, first.setdefault(film.group, index)) for index, film in enumerate(films) if film.group]
    members: dict[int, list[int]] = defaultdict(list)
    for index, number in enumerate(number_sets(len(films), pairs).tolist()):
        members[number].append(index)
    groups = [indices for indices in members.values() if len(indices) > 1]
    group_of = {index: f"g{number:05d}" for number, indices in enumerate(groups) for index in indices}
    _warn_of_large(groups, films)
    grouped = [replace(film, group=group_of.get(index, "")) for index, film in enumerate(films)]
    return grouped, _in_words([[films[index] for index in indices] for indices in groups])


def _warn_of_large(groups: Sequence[Sequence[int]], films: Sequence[Film]) -> None:
    largest = max(groups, key=len, default=[])
    if len(largest) > max(2, TOO_LARGE * len(films)):
        log.warning(
            "%d of %d films, %s the first, are one group: more than copies look alike to the hash. Look at "
            "them, or give a smaller --most-bits", len(largest), len(films), films[largest[0]].path,
        )  # fmt: skip


def _in_words(groups: Sequence[Sequence[Film]]) -> str:
    mixed = {
        column: sum(len({getattr(film, column) for film in members}) > 1 for members in groups)
        for column in ("source", "label")
    }
    largest = max((len(members) for members in groups), default=0)
    return (
        f"{len(groups)} groups hold {sum(map(len, groups))} films, {largest} at most; "
        f"{mixed['source']} groups are of several sources, {mixed['label']} of several labels"
    )
