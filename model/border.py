"""``python -m model.border``: what the borders of films alone reach on the published benchmark's folds."""

import argparse
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model import processor
from model.bootstrap import Figure, to_json
from model.command_edge import count, one_line_errors
from model.evaluation_sets import units_of
from model.exclusions import EXCLUDE_HELP, read_exclusions
from model.fold_figures import Fold, FoldSummary, summarise_folds
from model.folds import read_folds
from model.manifest import EXPECTED, Film, read_manifest
from model.metrics import Called, Float64, Units
from model.network import build_network, load_imagenet
from model.plots import NOTE
from model.probing import MOST_ITERATIONS, frozen_features
from model.reproduce import Given, Unit, write_study
from model.shortcuts.changes import BORDER, border_only, whole
from model.shortcuts.probes import splits
from model.studies import BENCHMARK, RELEASED, STUDIES, WANTED, config_of

BENCHMARK_STUDIES = tuple(name for name, study in STUDIES.items() if study.sources == BENCHMARK)
SHOWN = {"border_only": border_only, "whole_probe": whole}
"""What is left of each film, by what is put behind the names of the figures."""
WORDS = {
    "border_only": f"borders alone: {BORDER:.0%} of the width and height at each side, the centre filled "
    "with the border's mean",
    "whole_probe": "whole films",
}
STRENGTHS = np.logspace(-4, 2, 7)
"""Inverse penalties (C of scikit-learn) of which each fold chooses, for standardised features."""
PROBE = (
    "logistic regression on the frozen features of the ImageNet network, its penalty chosen by log-loss "
    "in folds of the training films that part no patient"
)
FIGURES = "border.json"


@dataclass(frozen=True)
class Dealt:
    """N films of a study in the folds that its trainings have."""

    films: Sequence[Film]
    """The films; a study that deals films, not patients, knows no patients."""
    units: Units
    """Its patients."""
    fold_N: NDArray[np.int64]
    """The fold that tests each film."""
    classes: tuple[str, ...]
    """Labels that are told apart."""

    @property
    def label(self) -> NDArray[np.int64]:
        """Return the number of each film's class, shape N."""
        return np.array([self.classes.index(film.label) for film in self.films], np.int64)


def dealt(name: str, given: Given, out: Path) -> Dealt:
    """Return a study's films in its folds, which `model.reproduce` deals, or has dealt in that folder.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no manifest or no film for it, or the folder holds runs of another recipe.
    """
    study = STUDIES[name]
    unit = Unit(RELEASED, name, 0, out / RELEASED / name / "run-0")
    write_study(given.config(unit), study, given.manifest, unit.shared)
    everything = read_manifest(unit.shared / "films.csv", given.config(unit).data.labels)
    fold_of = read_folds(unit.shared / "folds.csv")
    inside_N = np.array([film.path in fold_of for film in everything], bool)
    films = [film for film, inside in zip(everything, inside_N, strict=True) if inside]
    fold_N = np.array([fold_of[film.path] for film in films], np.int64)
    return Dealt(films, units_of(everything).subset(inside_N), fold_N, study.labels)


Features = Mapping[str, Float64]
"""Frozen features of a film by its path."""


def looked_at(studies: Sequence[Dealt], given: Given) -> dict[str, Features]:
    """Return the features of every film of the studies, by what is left of it.

    Raises
    ------
    ModuleNotFoundError
        If the package of ImageNet's weights is missing.
    dicom_io.errors.UnreadablePixels
        If a film cannot be read or is too small.
    """
    # Size and network are the same in all studies of the benchmark.
    config = config_of(STUDIES[BENCHMARK_STUDIES[0]], RELEASED)
    network = build_network(config)
    load_imagenet(network)
    films = list({film.path: film for study in studies for film in study.films}.values())
    found: dict[str, Features] = {}
    for shown, change in SHOWN.items():
        features_NC = frozen_features(network, config, given.manifest.parent, films, change)
        found[shown] = {film.path: row for film, row in zip(films, features_NC, strict=True)}
    return found


def probe(
    features_NC: Float64, class_N: NDArray[np.int64], units: Units, test_N: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], float]:
    """Return the class that a probe of the other films calls for each test film, and its strength.

    Every film weighs alike, as it does in the accuracy that is asked.

    Raises
    ------
    ValueError
        If a class has fewer than two patients among the training films.
    """
    train_N = ~test_N
    inner = splits(class_N[train_N], units.subset(train_N))
    if not inner:
        raise ValueError("expected two patients or more of every class in the training films, came fewer")
    fitted = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_ITERATIONS)),
        {"logisticregression__C": STRENGTHS},
        scoring="neg_log_loss",
        cv=inner,
        error_score="raise",
    ).fit(features_NC[train_N], class_N[train_N])
    return fitted.predict(features_NC[test_N]), float(fitted.best_params_["logisticregression__C"])


def probed(name: str, study: Dealt, shown: str, features: Features) -> tuple[FoldSummary, Counter[float]]:
    """Return figures of a probe per fold with their mean, and how often each strength was chosen."""
    features_NC = np.stack([features[film.path] for film in study.films])
    folds, chosen = [], Counter[float]()
    for number in np.unique(study.fold_N):
        test_N = study.fold_N == number
        called_N, strength = probe(features_NC, study.label, study.units, test_N)
        said = Called(study.label[test_N], called_N, study.units.subset(test_N), study.classes)
        folds.append(Fold(f"fold-{number}", said, PROBE))
        chosen[strength] += 1
    return summarise_folds(folds, f"{name}: {WORDS[shown]}"), chosen


def report_of(names: Sequence[str], given: Given, out: Path) -> dict[str, Any]:
    """Return what ``border.json`` holds: each accuracy by its name, and under ``details`` the folds.

    Parameters
    ----------
    names
        Studies of darkcovidnet's films.
    given
        Manifest and films to leave out, as `model.reproduce` has them.
    out
        The folder of `model.reproduce`: films and folds are those of its runs, and are written where there
        are none.

    Raises
    ------
    FileNotFoundError, ModuleNotFoundError, ValueError, dicom_io.errors.UnreadablePixels
        As `dealt`, `looked_at` and `probe` do.
    """
    studies = {name: dealt(name, given, out) for name in names}
    seen = looked_at(list(studies.values()), given)
    figures, summaries = {}, {}
    for name, study in studies.items():
        figure = next(key for key, wanted in WANTED.items() if wanted.study == name)
        for shown in SHOWN:
            summary, chosen = probed(name, study, shown, seen[shown])
            figures[f"{figure}_{shown}"] = summary.mean["accuracy"]
            summaries[f"{name}, {shown}"] = {**summary.to_json(), "strengths": dict(sorted(chosen.items()))}
    details = {"note": NOTE, "border": BORDER, "studies": summaries}
    return {**to_json(figures), "details": details}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(prog="python -m model.border", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST", help=EXPECTED)
    add(
        "--out", type=Path, required=True, metavar="DIR",
        help=f"folder of model.reproduce, whose folds are taken; {FIGURES} is put there",
    )  # fmt: skip
    add(
        "--study", nargs="+", choices=BENCHMARK_STUDIES, default=list(BENCHMARK_STUDIES),
        help="all of darkcovidnet's by default",
    )  # fmt: skip
    add("--exclude", type=Path, metavar="FILE", help=EXCLUDE_HELP)
    add("--threads", type=count, help="threads of PyTorch")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    processor.prepare(options.threads)
    with one_line_errors(parser):
        given = Given(options.data, read_exclusions(options.exclude) if options.exclude else {})
        report = report_of(options.study, given, options.out)
        (options.out / FIGURES).write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    for name, figure in report.items():
        if name != "details":
            print(f"{name}: {Figure(**figure)}, n {figure['n']}")
    print(f"border: {WORDS['border_only']}")
    print(NOTE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
