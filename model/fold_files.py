"""Evaluations of one model each become a summary: figures per fold or family, and their mean."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.bootstrap import Figure, to_json
from model.evaluation_sets import QUESTIONS, REST, SUFFIXES
from model.fold_figures import Fold, FoldSummary, summarise_folds
from model.plots import NOTE
from model.predictions import Predictions, read_predictions


def read_fold(folder: Path) -> tuple[str, Predictions, str]:
    """Return name, predictions and the choice of the threshold from a folder that `model.evaluate` wrote.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or is not what `model.evaluate` writes.
    """
    predictions = read_predictions(folder / "predictions.csv")
    try:
        details = json.loads((folder / "metrics.json").read_text())["details"]
        return (
            folder.name,
            predictions,
            f"threshold of the fold's own model: {details['threshold_chosen_on']}",
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder}: expected the metrics.json of model.evaluate") from error


def summarise(folders: Sequence[Path], covid_label: str = "covid") -> dict[str, FoldSummary]:
    """Return the summary of each question; a fold without films of the question takes no part in it.

    Folds are told apart by the names of their folders. Patients are those of one manifest, numbered over
    the whole of it.
    """
    read = [read_fold(folder) for folder in folders]
    found: dict[str, FoldSummary] = {}
    for question in SUFFIXES:
        labels = None if question == REST else {covid_label, *QUESTIONS[question]}
        folds = []
        for name, predictions, chosen_on in read:
            asked_N = np.array([labels is None or label in labels for label in predictions.label], bool)
            scored = predictions.scored(covid_label).subset(asked_N)
            if question == REST or (scored.is_covid_N.any() and not scored.is_covid_N.all()):
                folds.append(Fold(name, scored, chosen_on))
        if folds:
            found[question] = summarise_folds(folds, question)
    return found


def write_fold_summary(folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write ``metrics.json``: the means by name, and under ``details`` each fold; return what it holds."""
    found = summarise(folders)
    flat = {
        f"{name}{SUFFIXES[question]}": figure
        for question, summary in found.items()
        for name, figure in summary.mean.items()
    }
    details = {"note": NOTE, **{question: summary.to_json() for question, summary in found.items()}}
    report = {**to_json(flat), "details": details}
    out.mkdir(parents=True, exist_ok=True)
    (out / "metrics.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    return report


def print_folds(report: dict[str, Any]) -> None:
    """Print the area of each fold and the mean, question by question."""
    for question in SUFFIXES:
        if question in report["details"]:
            summary = report["details"][question]
            for name, figures in summary["folds"].items():
                print(
                    f"{question}, {name}: AUC {Figure(**figures['roc_auc'])}, {figures['roc_auc']['n']} films"
                )
            mean = summary["mean"]["roc_auc"]
            print(f"{question}, mean: AUC {Figure(**mean)}")
            print(f"  {mean['method']}")
    print(report["details"]["note"])
