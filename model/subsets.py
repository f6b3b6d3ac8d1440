"""Which films of a manifest train, validate, calibrate and test, by a split that is drawn or given."""

import logging

import ignite.distributed as idist
import numpy as np

from model import data
from model.class_checks import check_classes
from model.config import Config
from model.exclusions import unknown_names
from model.folds import SPLIT
from model.run import Run

log = logging.getLogger(__name__)

Subsets = dict[str, list[data.Film]]


def choose_films(config: Config, run: Run) -> Subsets:
    """Return the films of each subset; the split is written to `run.out`, so that it can be given back.

    A split file or a fold of a fold file is kept to; without either a resumed run keeps to its own split.

    Raises
    ------
    FileNotFoundError, ValueError
        If manifest, split or fold is missing or makes no sense, or a subset or a class is empty; no split is
        written then.
    """
    everything = data.read_manifest(run.manifest, config.data.labels)
    films, reasons = data.leave_out(everything, config.data)
    log.info("%d films, left out: %s", len(everything), dict(reasons) or "none")
    named = config.data.left_out_films
    if unknown := unknown_names((film.path for film in everything), named):
        log.warning(
            "%d of the %d films to leave out by name are not in the manifest, the first: %s",
            len(unknown), len(named), unknown[0],
        )  # fmt: skip
    subset_of = asked_split(config, run, everything)
    data.check_split(everything, subset_of, config.data)
    unnamed = [film.path for film in films if film.path not in subset_of]
    if unnamed:
        log.info(
            "%d of the %d films left are not in the split and take no part, the first: %s",
            len(unnamed), len(films), unnamed[0],
        )  # fmt: skip
    chosen: Subsets = {subset: [] for subset in data.SUBSETS}
    for film in films:
        if film.path in subset_of:
            chosen[subset_of[film.path]].append(film)
    for subset in ("train", "validation"):
        chosen[subset] = _asked(config, chosen[subset], subset)
    check_classes(config, chosen, everything)
    # Others may still be reading the split that a resumed run keeps to.
    idist.barrier()
    if idist.get_rank() == 0:
        data.write_split(run.out / SPLIT, subset_of)
    return chosen


def asked_split(config: Config, run: Run, films: list[data.Film]) -> dict[str, str]:
    """Return the subset of each path by the split or fold that is given, the split that is kept, or a draw.

    Raises
    ------
    FileNotFoundError, ValueError
        If a split or fold file is missing or makes no sense.
    """
    seed, kept = config.schedule.seed, run.out / SPLIT
    if run.split is not None:
        return data.read_split(run.split)
    if run.folds is not None:
        return data.fold_split(films, data.read_folds(run.folds), run.fold, config.data, seed)
    if run.resume and kept.exists():
        return data.read_split(kept)
    return data.split_films(films, config.data, seed)


def _asked(config: Config, films: list[data.Film], subset: str) -> list[data.Film]:
    asked_NK = ~np.isnan(data.targets(films, config))
    asked = [film for film, heads_K in zip(films, asked_NK, strict=True) if heads_K.any()]
    log.info("%s: %d films, %d more that no head asks", subset, len(asked), len(films) - len(asked))
    if not asked:
        raise ValueError(f"no film is left for {subset}: {data.EXPECTED}")
    return asked
