"""What the summary of several folds says beside each figure: films, matrices, thresholds, curves."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import metrics
from model.curves import curves_of
from model.evaluation_sets import REST, SUFFIXES
from model.fold_figures import Fold, FoldSummary, summarise_folds
from model.fold_reading import Asked, FoldEvaluation, ask, called_in
from model.origins import from_different_places
from model.set_report import counted, too_few

CLASSES = "classes"
"""Name of the set of films that a model of classes was asked about."""
STATED = ("band_low", "band_high", "alpha_covid", "alpha_rest", "prevalence_assumed", "threshold_chosen_on")
SOURCE = ("model", "weights_sha256", "config_sha256", "manifest", "data_sha256", "subset")
"""What an evaluation says of its model, in the order of the page; an older one may lack some of it."""


def question_details(asked: Sequence[Asked], summary: FoldSummary) -> dict[str, Any]:
    """Return figures, counts and confusion matrices of one question as JSON values.

    The sum of the matrices counts films, each at the threshold of the model that judged it. No figure is
    computed from it.
    """
    counts = {part.fold.name: _counts(part) for part in asked}
    matrices = [count["confusion_matrix"] for count in counts.values()]
    units = np.concatenate([part.scored.units.number_N for part in asked])
    return {
        **summary.to_json(),
        "counts": counts,
        "films": sum(count["films"] for count in counts.values()),
        "covid": sum(count["covid"] for count in counts.values()),
        "units": len(np.unique(units)),
        "confusion_matrix_sum": np.sum(matrices, axis=0).tolist(),
    }


def _counts(part: Asked) -> dict[str, Any]:
    return {
        **counted(part.scored),
        "classes_from_different_sources": from_different_places(part.covid_from, part.rest_from),
        "left_open": int((part.judged.decision_N == 0).sum()),
    }


def fold_curves(asked: Sequence[Asked]) -> dict[str, Any]:
    """Return the curves of each fold's own model on its own films; none of a class of too few films."""
    return {part.fold.name: curves_of(part.scored) for part in asked if not too_few(part.scored.is_covid_N)}


def class_details(folds: Sequence[FoldEvaluation]) -> dict[str, Any] | None:
    """Return figures and matrices of models that call one of several classes, None for any others.

    Raises
    ------
    ValueError
        If the models call different classes.
    """
    found = called_in(folds)
    if not found:
        return None
    chosen_on = "the likeliest class is called, by no threshold"
    summary = summarise_folds([Fold(name, films, chosen_on) for name, films in found.items()], CLASSES)
    matrices = {name: _matrix(films).tolist() for name, films in found.items()}
    return {
        "names": list(next(iter(found.values())).classes),
        **summary.to_json(),
        "films": {name: len(films.truth_N) for name, films in found.items()},
        "confusion_matrices": matrices,
        "confusion_matrix_sum": np.sum(list(matrices.values()), axis=0).tolist(),
    }


def _matrix(films: metrics.Called) -> NDArray[np.int64]:
    counted: NDArray[np.int64] = films.confusion(np.ones((1, len(films.truth_N))))[0].astype(np.int64)
    return counted


def model_details(fold: FoldEvaluation) -> dict[str, Any]:
    """Return what the evaluation of a fold says of its model: threshold, band, and which model it is.

    The threshold is that of its predictions, the lowest and the highest where it differs among films.
    """
    threshold_N = np.asarray(fold.predictions.threshold)
    return {
        "threshold": [float(threshold_N.min()), float(threshold_N.max())],
        **{name: fold.details.get(name) for name in (*STATED, *SOURCE)},
    }


def overlap(folds: Sequence[FoldEvaluation]) -> dict[str, int]:
    """Return how many films, and how many patients or groups, were scored in more than one fold."""
    films = [path for fold in folds for path in set(fold.predictions.path)]
    units = [unit for fold in folds for unit in np.unique(fold.predictions.units.number_N).tolist()]
    return {"films": _repeated(films), "units": _repeated(units)}


def _repeated(members: Sequence[Any]) -> int:
    return sum(count > 1 for count in Counter(members).values())


def questions(folds: Sequence[FoldEvaluation]) -> Mapping[str, list[Asked]]:
    """Return, per question, the films of each fold that it is put to; a question without any is left out."""
    found = {question: ask(folds, question) for question in SUFFIXES}
    return {question: asked for question, asked in found.items() if asked}


def apart(details: Mapping[str, Any]) -> list[str]:
    """Return the questions to show: one whose films are those of all others together is shown once."""
    present = [question for question in SUFFIXES if question in details]
    return [name for name in present if name == REST or details[name]["films"] < details[REST]["films"]]


def summarise_question(asked: Sequence[Asked], question: str) -> FoldSummary:
    """Return each figure of probability, threshold and abstention per fold, and its mean over folds."""
    scored = [Fold(part.fold.name, part.scored, part.fold.chosen_on) for part in asked]
    judged = [Fold(part.fold.name, part.judged, part.fold.chosen_on) for part in asked]
    return summarise_folds(scored, question).joined(summarise_folds(judged, question))
