"""From the evaluations of a study's runs to figures by name, and a table of networks."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.bootstrap import Figure, intervals, to_json
from model.evaluation_sets import QUESTIONS
from model.fold_figures import Fold, summarise_folds
from model.fold_reading import called, read_fold
from model.predictions import read_logits
from model.probability import sigmoid
from model.release_figures import read_figures
from model.studies import CLASSES, WANTED, Wanted, recipe_of_today

log = logging.getLogger(__name__)

COVID = "covid"
SHIP = "python -m model.ship"
UNTOLD = "taken over from an earlier release, which did not write its recipe down"
"""What is added to the method of such a figure."""

Table = dict[str, dict[str, dict[str, Any]]]
"""Figures by network and name."""
Recipes = dict[str, dict[str, str]]
"""`model.studies.recipe_sha256` by network and study."""


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
    asked = f"{wanted.question}, by the head {wanted.head} alone" if wanted.head else wanted.question
    where = f"{wanted.study}: {asked}"
    if len(runs) > 1:
        return summarise_folds(runs, where).mean[wanted.metric]
    return intervals(runs[0].films, f"{where}; {runs[0].chosen_on}")[wanted.metric]


def _run(wanted: Wanted, folder: Path) -> Fold:
    fold = read_fold(folder)
    predictions = fold.predictions
    if wanted.question == CLASSES:
        return Fold(fold.name, called(fold), fold.chosen_on)
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
    scored = predictions.scored(COVID)
    if wanted.head:
        logits_N1 = read_logits(folder / "predictions.csv", [wanted.head])
        scored = dataclasses.replace(scored, probability_N=sigmoid(logits_N1[:, 0]))
    return Fold(fold.name, scored.subset(chosen_N), fold.chosen_on)


def read_earlier(path: Path) -> tuple[Table, Recipes]:
    """Return the studies' figures that an earlier release holds, as far as they are of today's recipes.

    Parameters
    ----------
    path
        ``metrics.json`` of that release.

    Returns
    -------
    tuple
        Figures, and the recipes that were written down with them.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is something else.
    """
    studies = read_figures(path, SHIP)["details"].get("studies", {})
    table, recipes = Table(), Recipes()
    for network, figures in studies.get("networks", {}).items():
        told = studies.get("recipes", {}).get(network, {})
        for name, figure in figures.items():
            study = WANTED[name].study if name in WANTED else None
            if study is None or not _of_today(study, network, told.get(study)):
                log.warning("%s: %s of %s is of another recipe: left out", path.name, name, network)
                continue
            table.setdefault(network, {})[name] = figure if study in told else _taken_over(figure)
            if study in told:
                recipes.setdefault(network, {})[study] = told[study]
    return table, recipes


def _taken_over(figure: Mapping[str, Any]) -> dict[str, Any]:
    if UNTOLD in figure["method"]:
        return dict(figure)
    return {**figure, "method": f"{figure['method']}; {UNTOLD}"}


def _of_today(study: str, network: str, recipe: str | None) -> bool:
    today = recipe_of_today(study, network)
    # The first releases with studies did not write their recipes down.
    return today is not None and recipe in (None, today)


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
