"""``python -m model.evaluate``: score a model on a manifest, with an interval for every figure."""

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from model import answers, compare, own_network, probability, processor
from model.audit_file import read_audit
from model.checkpoint import RELEASE, Model, load_model
from model.command_edge import count, one_line_errors
from model.config import config_sha256
from model.curves import curves_of
from model.evaluation_files import print_figures, write_files
from model.evaluation_sets import evaluation_sets, units_of
from model.fold_files import print_folds, write_fold_summary
from model.folds import SUBSETS, read_split
from model.known_films import LEARNED, paths_in, split_in
from model.manifest import EXPECTED, Film, leave_out, manifest_sha256, read_manifest
from model.metrics import Float64, Units
from model.plots import NOTE
from model.predictions import Predictions, read_predictions
from model.scoring import score_films
from model.set_report import Evaluated, flat_figures, report_classes, report_heads, report_set

log = logging.getLogger(__name__)

OF_SCORING = (
    "split", "subset", "against", "audit", "prevalence", "score_training_films", "no_gallery",
)  # fmt: skip
"""Options of the command that say how films are scored."""
KNOWN = "film that trained, validated or calibrated the model"
"""Why such a film is left out."""
SCORE_KNOWN = "model.evaluate --score-training-films"
"""What scores it all the same."""


@dataclass(frozen=True)
class Request:
    """What is to be scored, and how it is to be shown."""

    manifest: Path
    """The manifest of films."""
    split: Path | None = None
    """A split file; None scores every film."""
    subset: str = "test"
    """The subset of the split that is scored."""
    against: Path | None = None
    """Predictions of another model for the same manifest, to compare with."""
    gallery: bool = True
    """Whether the report shows the films that were judged worst."""
    audit: Path | None = None
    """``audit.json`` of `model.audit` for the same weights; its figures and section join the report."""
    known: Path | None = None
    """The model's own split: films that it names in `known_films.LEARNED` are left out, unless another subset
    than ``test`` is asked for; None knows of none."""
    score_known: bool = False
    """Whether those films are scored all the same."""

    @cached_property
    def learned_paths(self) -> frozenset[str]:
        """Return the paths of the films that made the model what it is."""
        return paths_in(self.known, LEARNED)

    @property
    def spares(self) -> bool:
        """Whether films that made the model are left out; whoever names their subset wants them."""
        return not self.score_known and (self.split is None or self.subset == "test")


def choose(model: Model, request: Request) -> tuple[list[Film], Units, dict[str, int]]:
    """Return the films to score, their patients, and what was left out for which reason.

    Patients are numbered over the whole manifest, so that the same numbers stand in each evaluation of it.

    Raises
    ------
    ValueError
        If no film is left; the message says what the films were left out for.
    """
    everything = read_manifest(request.manifest, model.config.data.labels)
    films, reasons = leave_out(everything, model.config.data)
    if request.split is not None:
        subset_of = read_split(request.split)
        chosen = [film for film in films if subset_of.get(film.path) == request.subset]
        reasons["not in the subset"] = len(films) - len(chosen)
        films = chosen
    learned = request.learned_paths if request.spares else frozenset()
    spared = [film for film in films if film.path not in learned]
    if len(spared) < len(films):
        reasons[KNOWN] = len(films) - len(spared)
        log.warning(
            "%d films of %s are left out: by their paths they trained, validated or calibrated the model. If "
            "they are to be scored all the same, or are others of the same names: %s",
            reasons[KNOWN], request.manifest.name, SCORE_KNOWN,
        )  # fmt: skip
        films = spared
    if not films:
        remedy = f". Give films that the model does not know, or {SCORE_KNOWN}" if reasons[KNOWN] else ""
        raise ValueError(f"no film to score in {request.manifest.name}, left out: {dict(reasons)}{remedy}")
    log.info("%d films of %s, left out: %s", len(films), request.manifest.name, dict(reasons) or "none")
    row = {film.path: number for number, film in enumerate(everything)}
    rows = [row[film.path] for film in films]
    units = units_of(everything)
    return films, Units(units.number_N[rows], units.named_N[rows]), dict(reasons)


def predict(model: Model, folder: Path, films: Sequence[Film], units: Units) -> Evaluated:
    """Score films by the model, whose own threshold and band are used: none is chosen here.

    Raises
    ------
    dicom_io.errors.CxrError
        If a film cannot be read or judged; the message names the file.
    """
    scores = score_films(model.network, model.config.transforms, folder, films)
    odds_N = answers.covid_log_odds(scores.logits_NK, model.config)
    probability_N = probability.calibrated(odds_N, model.calibration)
    return Evaluated(model, films, said(model, films, units, probability_N), scores.logits_NK)


def said(model: Model, films: Sequence[Film], units: Units, probability_N: Float64) -> Predictions:
    """Return the predictions of films whose calibrated probabilities are given."""
    return Predictions(
        path=[film.path for film in films],
        label=[film.label for film in films],
        source=[film.source for film in films],
        view=[film.view for film in films],
        units=units,
        probability_N=probability_N,
        threshold=model.calibration.threshold,
        decision=[probability.decide(float(p), model.calibration) for p in probability_N],
    )


@dataclass(frozen=True)
class Measured:
    """An evaluation before it is written."""

    report: dict[str, Any]
    """What ``metrics.json`` will hold."""
    curves: dict[str, Any]
    """The curves of each set with enough films of both classes."""
    evaluated: Evaluated
    """The films and what the model said of them."""


def measure(model: Model, request: Request) -> Measured:
    """Score films and return every figure; nothing is written.

    Parameters
    ----------
    model
        The model.
    request
        Which films, and against which other model.

    Returns
    -------
    Measured
        Its report holds each figure by its name as ``value, low, high, n, set, method``, and under
        ``details`` the same for every set, and what was scored by what.

    Raises
    ------
    FileNotFoundError, ValueError
        If the manifest, split or other predictions are missing or make no sense, or no film is left.
    dicom_io.errors.CxrError
        If a film cannot be read or judged; the message names the file.
    """
    films, units, reasons = choose(model, request)
    # Read before hours of scoring, so that a wrong file is known at once.
    other = read_predictions(request.against) if request.against else None
    if other is not None:
        compare.pair(said(model, films, units, np.zeros(len(films))), other)
    audited = read_audit(request.audit, model.weights_sha256) if request.audit else None
    evaluated = predict(model, request.manifest.parent, films, units)
    sets, curves = {}, {}
    for chosen in evaluation_sets(films, model):
        sets[chosen.name] = report_set(chosen, evaluated)
        if not sets[chosen.name]["too_few"]:
            curves[chosen.name] = curves_of(evaluated.scored.subset(chosen.chosen_N))
    details = describe(model, request, reasons) | {"sets": sets, "heads": report_heads(evaluated)}
    details["training_films_scored"] = len(request.learned_paths & {film.path for film in films})
    if details["training_films_scored"]:
        log.warning("%d of the films made the model: too good figures", details["training_films_scored"])
    details["classes"] = report_classes(evaluated)
    if other is not None and request.against is not None:
        found = compare.compare_predictions(evaluated.predictions, other, model.config.data.covid_label)
        details["comparison"] = found | {"against": request.against.name}
    flat = flat_figures(sets)
    if details["classes"]:
        flat |= {f"class_{name}": figure for name, figure in details["classes"]["metrics"].items()}
    if audited is not None:
        details["audit"] = audited.pop("details")
        flat |= audited
    return Measured(flat | {"details": details}, curves, evaluated)


def evaluate(model: Model, request: Request, out: Path) -> dict[str, Any]:
    """Score films by `measure`, write everything, and return what ``metrics.json`` holds.

    `out` then holds ``metrics.json``, ``predictions.csv``, ``curves.json``, pictures and ``report.html``.
    """
    # Before hours of scoring too: a folder that cannot be written to is known at once.
    out.mkdir(parents=True, exist_ok=True)
    found = measure(model, request)
    folder = request.manifest.parent if request.gallery else None
    write_files(out, found.report, found.curves, found.evaluated, folder)
    return found.report


def scored_by(model: Model, request: Request) -> dict[str, Any]:
    """Return what every report of a model on a manifest says: which model, which films, what it is for."""
    return {
        "note": NOTE,
        "model": {"name": model.config.name, "version": model.config.version},
        "weights_sha256": model.weights_sha256,
        "manifest": request.manifest.name,
        "data_sha256": manifest_sha256(request.manifest),
        "subset": request.subset if request.split else "every film",
    }


def describe(model: Model, request: Request, left_out: dict[str, int]) -> dict[str, Any]:
    """Return what was scored by which model, and where its threshold comes from."""
    calibration = dataclasses.asdict(model.calibration)
    kept = ("threshold", "band_low", "band_high", "alpha_covid", "alpha_rest", "prevalence_assumed")
    return {
        **scored_by(model, request),
        "config_sha256": model.config_sha256 or config_sha256(model.config),
        **{name: calibration[name] for name in kept},
        "threshold_chosen_on": model.calibration.method,
        "covid_label": model.config.data.covid_label,
        "held_out_sources": list(model.config.data.held_out_sources),
        "left_out": left_out,
    }


def own_split(model: Model, folder: Path, manifest: Path) -> Path | None:
    """Return the split that the model was made with, if it was made with this manifest."""
    own = model.provenance.get("data_sha256")
    is_own = manifest.is_file() and manifest_sha256(manifest) == own
    return split_in(folder) if is_own else None


def request_of(model: Model, folder: Path, manifest: Path, split: Path | None) -> Request:
    """Return the request to score a manifest by the model of a folder, films that made the model apart.

    Without a split the model keeps to its own on the manifest that it was trained on (`own_split`).
    """
    # What the model knows is in its folder, whatever split is given.
    return Request(manifest, split or own_split(model, folder, manifest), known=split_in(folder))


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=RELEASE, metavar="DIR", help="model folder; the shipped one by default")
    add("--network-file", **own_network.OPTION)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, metavar="MANIFEST", help=EXPECTED)
    what.add_argument(
        "--folds", type=Path, nargs="+", metavar="DIR",
        help="the folders that this command wrote for the model of each fold, or of each family held out: "
        "figures per fold and their mean",
    )  # fmt: skip
    add(
        "--split", type=Path, metavar="FILE",
        help="split file (path,subset); on the manifest it was trained on, a model keeps to its own",
    )  # fmt: skip
    add("--subset", choices=SUBSETS, help="subset of the split (test)")
    add(
        "--score-training-films", action="store_true",
        help="score films that trained, validated or calibrated the model too: their figures are too good",
    )  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="where report.html and the rest go")
    add("--against", type=Path, metavar="CSV", help="predictions.csv of another model, to compare with")
    add("--audit", type=Path, metavar="JSON", help="audit.json of model.audit, to join the report")
    add("--prevalence", type=float, help="share of COVID-19 to assume instead of the model's own")
    add("--no-gallery", action="store_true", help="show no film in the report")
    add("--threads", type=count, help="threads of PyTorch")
    return parser


def check_alone(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the command if an option of scoring stands beside ``--folds``, which sums up what was scored."""
    given = [name for name in OF_SCORING if getattr(options, name) != parser.get_default(name)]
    if given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        parser.error(f"{named}: give it where each fold is evaluated, --folds sums those up")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    processor.prepare(options.threads)
    with one_line_errors(parser):
        own_network.enter(options.network_file)
        if options.folds:
            check_alone(parser, options)
            print_folds(write_fold_summary(options.folds, options.out))
            print(f"report: {options.out / 'report.html'}")
            return 0
        model = load_model(options.model)
        if options.prevalence is not None:
            moved = probability.shifted(model.calibration, options.prevalence)
            model = dataclasses.replace(model, calibration=moved)
        request = dataclasses.replace(
            request_of(model, options.model, options.data, options.split),
            subset=options.subset or "test", against=options.against, gallery=not options.no_gallery,
            audit=options.audit, score_known=options.score_training_films,
        )  # fmt: skip
        if request.split is None and options.subset is not None:
            raise ValueError(
                f"--subset {options.subset} needs --split FILE: the model was not trained on "
                f"{options.data.name} as it is, so that no split of its own says what each film is"
            )
        if request.split is not None and not options.split:
            log.info("the model was trained on this manifest: only its %s films are scored", request.subset)
        report = evaluate(model, request, options.out)
    print_figures(report)
    print(f"report: {options.out / 'report.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
