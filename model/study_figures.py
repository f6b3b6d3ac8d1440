"""From the evaluations of a study's runs to figures by name, and a table of networks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.bootstrap import Figure, intervals, to_json
from model.evaluation_sets import QUESTIONS
from model.fold_figures import Fold, summarise_folds
from model.fold_files import read_fold
from model.metrics import Called
from model.predictions import Predictions, read_classes
from model.studies import CLASSES, WANTED, Wanted

COVID = "covid"


def figures_of(study: str, folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return the figures that `model.studies.WANTED` takes from a study.

    Parameters
    ----------
    study
        Name of the study.
    folders
        What `model.evaluate` wrote for each of its runs.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or is not what `model.evaluate` writes.
    """
    wanted = {name: asked for name, asked in WANTED.items() if asked.study == study}
    return to_json({name: _figure(asked, folders) for name, asked in wanted.items()})


def _figure(wanted: Wanted, folders: Sequence[Path]) -> Figure:
    runs = [_run(wanted, folder) for folder in folders]
    where = f"{wanted.study}: {wanted.question}"
    if len(runs) > 1:
        return summarise_folds(runs, where).mean[wanted.metric]
    return intervals(runs[0].films, f"{where}; {runs[0].chosen_on}")[wanted.metric]


def _run(wanted: Wanted, folder: Path) -> Fold:
    name, predictions, chosen_on = read_fold(folder)
    if wanted.question == CLASSES:
        return Fold(name, called(predictions, folder), chosen_on)
    rest = QUESTIONS.get(wanted.question)
    chosen_N = np.array(
        [
            (not wanted.source or source == wanted.source)
            and (rest is None or label == COVID or label in rest)
            for source, label in zip(predictions.source, predictions.label, strict=True)
        ],
        bool,
    )
    if not chosen_N.any():
        raise ValueError(f"{folder}: no film of {wanted.source or 'any source'} was scored")
    return Fold(name, predictions.scored(COVID).subset(chosen_N), chosen_on)


def called(predictions: Predictions, folder: Path) -> Called:
    """Return true and called classes of an evaluation of a model of classes.

    Raises
    ------
    ValueError
        If the model was one of questions.
    """
    details = json.loads((folder / "metrics.json").read_text())["details"]
    if not details.get("classes"):
        raise ValueError(f"{folder}: expected the evaluation of a model of classes")
    class_of, names = details["classes"]["class_of_label"], tuple(details["classes"]["names"])
    logits_NK = read_classes(folder / "predictions.csv", names)
    known_N = np.array([label in class_of for label in predictions.label], bool)
    truth_N = np.array([class_of[label] for label in predictions.label if label in class_of], np.int64)
    return Called(truth_N, logits_NK[known_N].argmax(axis=1), predictions.units.subset(known_N), names)


def as_table(networks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return a Markdown table, a row per network; what was not run says so."""
    head = ["network", *(name.replace("_", " ") for name in WANTED)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for network, figures in networks.items():
        cells = [
            f"{Figure(**figures[name])}, n {figures[name]['n']}" if name in figures else "not run"
            for name in WANTED
        ]
        lines.append("| " + " | ".join([network, *cells]) + " |")
    return "\n".join(lines) + "\n"
