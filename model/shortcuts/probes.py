"""Linear probes: what can be read off a frozen network's features, patients never parted."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from model.bootstrap import Figure, described
from model.fold_figures import Fold, summarise_folds
from model.metrics import Bool, Float64, Units
from model.shortcuts.areas import AUC, Macro

FOLDS = 5
PENALTIES = np.logspace(0, 5, 6)
CHOICE = "penalty chosen by leave-one-out within the training folds"

Split = tuple[NDArray[np.int64], NDArray[np.int64]]


def splits(class_N: NDArray[np.int64], units: Units, seed: int = 0) -> list[Split]:
    """Return training and test rows of each fold, classes spread evenly; none where a class is too small."""
    from sklearn.model_selection import StratifiedGroupKFold

    smallest = min((units.count(class_N == one) for one in np.unique(class_N)), default=0)
    count = min(FOLDS, smallest)
    if count < 2 or len(np.unique(class_N)) < 2:
        return []
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return list(folds.split(np.zeros((len(class_N), 1)), class_N, units.number_N))


def out_of_fold(
    features_NC: Float64, class_N: NDArray[np.int64], units: Units, seed: int = 0
) -> Iterator[tuple[NDArray[np.int64], Float64]]:
    """Yield the rows of each fold with the scores of a ridge classifier that was fitted on the others.

    Scores have a column per class, or one for two classes.
    """
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = np.unique(class_N)
    for train, test in splits(class_N, units, seed):
        if len(np.unique(class_N[train])) < len(classes):
            continue
        # Weighed by class: at a share of 2 % the probe would else say nothing but no.
        probe = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES, class_weight="balanced"))
        scores = probe.fit(features_NC[train], class_N[train]).decision_function(features_NC[test])
        yield test, np.asarray(scores, np.float64).reshape(len(test), -1)


def probe_folds(
    features_NC: Float64, class_N: NDArray[np.int64], units: Units, name: str, seed: int = 0
) -> list[Fold]:
    """Return each fold with what the probe of the others says of it, to be measured."""
    found = []
    for number, (test, score_NS) in enumerate(out_of_fold(features_NC, class_N, units, seed), 1):
        there = Units(units.number_N[test], units.named_N[test])
        found.append(Fold(f"{name}fold {number}", Macro(there, score_NS, class_N[test]), CHOICE))
    return found


def probed(folds: Sequence[Fold], set_name: str, films: int) -> Figure:
    """Return the mean area over folds, of a probe of each."""
    if not folds:
        reason = "not defined: fewer than two patients in a class"
        return Figure(None, None, None, films, set_name, reason)
    figure = summarise_folds(folds, set_name).mean[AUC]
    units = Units(
        np.concatenate([fold.films.units.number_N for fold in folds]),
        np.concatenate([fold.films.units.named_N for fold in folds]),
    )
    # The list of folds is left out: it says nothing here, and permutations have fifty.
    method = f"mean over {len(folds)} folds that part no patient; {described(units)}; {CHOICE}"
    return dataclasses.replace(figure, n=films, method=method)


def predicted(features_NC: Float64, class_N: NDArray[np.int64], units: Units) -> NDArray[np.int64]:
    """Return the class that a probe of the other folds calls likeliest, -1 where no fold could be made."""
    called_N = np.full(len(class_N), -1, np.int64)
    for test, score_NS in out_of_fold(features_NC, class_N, units):
        one = score_NS.shape[1] == 1
        called_N[test] = (score_NS[:, 0] > 0).astype(np.int64) if one else score_NS.argmax(axis=1)
    return called_N


def permuted(yes_N: Bool, units: Units, seed: int) -> Bool:
    """Return the truth with patients' answers exchanged at random; a patient's films keep one answer."""
    _, first, unit_N = np.unique(units.number_N, return_index=True, return_inverse=True)
    shuffled: Bool = np.random.default_rng(seed).permutation(yes_N[first])
    return shuffled[unit_N]


def defined(figure: Figure) -> bool:
    """Return whether a figure has a value and an interval."""
    ends = (figure.value, figure.low, figure.high)
    return all(end is not None and not math.isnan(end) for end in ends)
