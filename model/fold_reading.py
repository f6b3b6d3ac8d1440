"""What `model.evaluate` wrote for the model of each fold or family, read back to be summed up."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.config import DataConfig
from model.evaluation_sets import QUESTIONS, REST
from model.metrics import Bool, Called, Judged, Scored
from model.predictions import Predictions, read_logits, read_predictions


@dataclass(frozen=True)
class FoldEvaluation:
    """The evaluation of one fold's model, on films that it learned and chose nothing on."""

    name: str
    """What tells it from the others: the name of its folder."""
    folder: Path
    """Where it lies."""
    predictions: Predictions
    """What the model said of each film."""
    chosen_on: str
    """On which films its threshold was chosen, in words."""
    details: Mapping[str, Any]
    """``details`` of its ``metrics.json``: model, manifest, threshold, band, classes."""

    @property
    def covid_label(self) -> str:
        """Return the label that counts as COVID-19."""
        return str(self.details.get("covid_label", DataConfig().covid_label))


@dataclass(frozen=True)
class Asked:
    """The films of one fold that a question is put to."""

    fold: FoldEvaluation
    """The fold."""
    scored: Scored
    """The films with their probability."""
    judged: Judged
    """The same films with their decision."""
    covid_from: frozenset[str]
    """Sources of the films with COVID-19."""
    rest_from: frozenset[str]
    """Sources of the others."""


def read_fold(folder: Path, name: str = "") -> FoldEvaluation:
    """Return the evaluation in a folder; without a name it is named as the folder is.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or is not what `model.evaluate` writes.
    """
    predictions = read_predictions(folder / "predictions.csv")
    try:
        details = json.loads((folder / "metrics.json").read_text())["details"]
        chosen_on = f"threshold of the fold's own model: {details['threshold_chosen_on']}"
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder}: expected the metrics.json of model.evaluate") from error
    return FoldEvaluation(name or folder.name, folder, predictions, chosen_on, details)


def read_fold_evaluations(folders: Sequence[Path]) -> list[FoldEvaluation]:
    """Return the evaluations in folders, told apart by the last parts of their paths.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or is not what `model.evaluate` writes, a folder is given twice, or another label
        counts as COVID-19 in one than in the others.
    """
    folds = [read_fold(folder, name) for folder, name in zip(folders, names_of(folders), strict=True)]
    labels = sorted({fold.covid_label for fold in folds})
    if len(labels) > 1:
        raise ValueError(f"expected folds in which one label counts as COVID-19, came {labels}")
    return folds


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return the shortest names that differ: ``run-0`` and ``run-1`` of ``run-0/report``, ``run-1/report``.

    Raises
    ------
    ValueError
        If a folder is given twice.
    """
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        raise ValueError(f"expected a folder for each fold, came {[str(folder) for folder in folders]}")
    depth = 1
    while len({ends[-depth:] for ends in parts}) < len(parts):
        depth += 1
    # What all folders are called alike tells nothing.
    alike = depth > 1 and len({ends[-depth + 1 :] for ends in parts}) == 1
    return ["/".join(ends[-depth : 1 - depth] if alike else ends[-depth:]) for ends in parts]


def ask(folds: Sequence[FoldEvaluation], question: str) -> list[Asked]:
    """Return, per fold, the films that a question is put to.

    A fold without films of both kinds takes no part, except where everything is asked: its share of one
    kind counts there.
    """
    found = []
    for fold in folds:
        asked_N = _asked(fold.predictions, question, fold.covid_label)
        scored = fold.predictions.scored(fold.covid_label).subset(asked_N)
        judged = fold.predictions.judged(fold.covid_label)
        if question == REST or (scored.is_covid_N.any() and not scored.is_covid_N.all()):
            part = Judged(judged.decision_N[asked_N], scored.is_covid_N, scored.units)
            source_N = np.array(fold.predictions.source)[asked_N]
            covid_from, rest_from = (
                frozenset(source_N[kind_N].tolist()) for kind_N in (scored.is_covid_N, ~scored.is_covid_N)
            )
            found.append(Asked(fold, scored, part, covid_from, rest_from))
    return found


def _asked(predictions: Predictions, question: str, covid_label: str) -> Bool:
    labels = None if question == REST else {covid_label, *QUESTIONS[question]}
    return np.array([labels is None or label in labels for label in predictions.label], bool)


def called(fold: FoldEvaluation) -> Called:
    """Return true and called classes of the evaluation of a model of classes.

    Raises
    ------
    ValueError
        If the model was one of questions.
    """
    classes = fold.details.get("classes")
    if not classes:
        raise ValueError(f"{fold.folder}: expected the evaluation of a model of classes")
    class_of, names, predictions = classes["class_of_label"], tuple(classes["names"]), fold.predictions
    logits_NK = read_logits(fold.folder / "predictions.csv", names)
    known_N = np.array([label in class_of for label in predictions.label], bool)
    truth_N = np.array([class_of[label] for label in predictions.label if label in class_of], np.int64)
    return Called(truth_N, logits_NK[known_N].argmax(axis=1), predictions.units.subset(known_N), names)


def called_in(folds: Sequence[FoldEvaluation]) -> dict[str, Called]:
    """Return true and called classes by fold, of those folds whose models call classes.

    Raises
    ------
    ValueError
        If two models call different classes: then no figure of theirs is of one kind.
    """
    found = {fold.name: called(fold) for fold in folds if fold.details.get("classes")}
    kinds = {films.classes for films in found.values()}
    if len(kinds) > 1:
        raise ValueError(f"expected folds whose models call the same classes, came {sorted(kinds)}")
    return found
