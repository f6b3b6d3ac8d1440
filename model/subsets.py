"""Which films of a manifest train, validate, calibrate and test, by a split that is drawn or given."""

import logging
from collections import Counter

import ignite.distributed as idist
import numpy as np

from model import data
from model.config import Config
from model.run import Run

log = logging.getLogger(__name__)

SPLIT = "split.csv.gz"
Subsets = dict[str, list[data.Film]]


def choose_films(config: Config, run: Run) -> Subsets:
    """Return the films of each subset; the split is written to `run.out`, so that it can be given back.

    A split file or a fold of a fold file is kept to; a run that is resumed keeps to its own split.

    Raises
    ------
    FileNotFoundError, ValueError
        If manifest, split or fold is missing or makes no sense, or a subset or a class is empty.
    """
    everything = data.read_manifest(run.manifest, config.data.labels)
    films, reasons = data.leave_out(everything, config.data)
    log.info("%d films, left out: %s", len(everything), dict(reasons) or "none")
    subset_of = _split(config, run, everything)
    data.check_split(everything, subset_of, config.data)
    # Others may still be reading the split that a resumed run keeps to.
    idist.barrier()
    if idist.get_rank() == 0:
        data.write_split(run.out / SPLIT, subset_of)
    chosen: Subsets = {subset: [] for subset in data.SUBSETS}
    for film in films:
        if film.path in subset_of:
            chosen[subset_of[film.path]].append(film)
    for subset in ("train", "validation"):
        chosen[subset] = _asked(config, chosen[subset], subset)
    check_classes(config, chosen["train"])
    return chosen


def _split(config: Config, run: Run, films: list[data.Film]) -> dict[str, str]:
    seed, kept = config.schedule.seed, run.out / SPLIT
    given = run.split or (kept if run.resume and kept.exists() else None)
    if given:
        return data.read_split(given)
    if run.folds is not None:
        return data.fold_split(films, data.read_folds(run.folds), run.fold, config.data, seed)
    return data.split_films(films, config.data, seed)


def _asked(config: Config, films: list[data.Film], subset: str) -> list[data.Film]:
    asked_NK = ~np.isnan(data.targets(films, config))
    asked = [film for film, heads_K in zip(films, asked_NK, strict=True) if heads_K.any()]
    log.info("%s: %d films, %d more that no head asks", subset, len(asked), len(films) - len(asked))
    if not asked:
        raise ValueError(f"no film is left for {subset}: {data.EXPECTED}")
    return asked


def check_classes(config: Config, films: list[data.Film]) -> None:
    """Refuse to train a head of which one answer does not occur: it would learn to always say the other.

    Raises
    ------
    ValueError
        Naming the head, the answer and the labels that are there.
    """
    targets_NK = data.targets(films, config)
    for k, head in enumerate(config.heads):
        for answer, labels in ((1.0, head.positive), (0.0, head.negative)):
            if not (targets_NK[:, k] == answer).any():
                held = dict(sorted(Counter(film.label for film in films).items()))
                raise ValueError(
                    f"class {' or '.join(labels)} is empty: no training film answers "
                    f"{'yes' if answer else 'no'} to head {head.name}; there are {held}"
                )
