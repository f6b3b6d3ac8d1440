"""``python -m model.evaluate``: score a model on a manifest, with an interval for every figure."""

import argparse
import csv
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dicom_io.errors import CxrError
from model import data, metrics, plots, probability
from model.checkpoint import RELEASE, Model, load_model
from model.config import config_sha256
from model.metrics import Scored
from model.scoring import Scores, score_films

log = logging.getLogger(__name__)

NORMAL = ("normal",)
DISEASE = ("pneumonia", "other")
RESEARCH_ONLY = "For research and teaching only, not for diagnosis."
SPLIT = "split.csv.gz"
PANELS = 6
"""Most sets in a picture; the JSON holds all."""
FEWEST = 10
"""A set with fewer films in either class gets no picture."""


@dataclass(frozen=True)
class Request:
    """What is to be scored."""

    manifest: Path
    """The manifest of films."""
    split: Path | None = None
    """A split file; None scores every film."""
    subset: str = "test"
    """The subset of the split that is scored."""


def choose(model: Model, request: Request) -> tuple[list[data.Film], dict[str, int]]:
    """Return the films to score, and what was left out for which reason.

    Raises
    ------
    ValueError
        If no film is left.
    """
    everything = data.read_manifest(request.manifest, model.config.data.labels)
    films, reasons = data.leave_out(everything, model.config.data)
    if request.split is not None:
        subset_of = data.read_split(request.split)
        chosen = [film for film in films if subset_of.get(film.path) == request.subset]
        reasons["not in the subset"] = len(films) - len(chosen)
        films = chosen
    if not films:
        raise ValueError(f"no film to score in {request.manifest.name}, left out: {dict(reasons)}")
    return films, dict(reasons)


def comparisons(films: Sequence[data.Film], covid_label: str) -> dict[str, NDArray[np.bool_]]:
    """Return the sets to report: everything, the two questions apart, and the same within each source."""
    label_N = np.array([film.label for film in films])
    source_N = np.array([film.source for film in films])
    covid_N = label_N == covid_label
    sources = sorted(set(source_N.tolist()) - {""})
    places = {"": np.ones(len(films), bool)} | {f"{name}: ": source_N == name for name in sources}
    if len(sources) == 1:
        del places[f"{sources[0]}: "]
    found: dict[str, NDArray[np.bool_]] = {}
    for place, there_N in places.items():
        apart: dict[str, NDArray[np.bool_]] = {}
        for question, labels in (("normal", NORMAL), ("other disease", DISEASE)):
            rest_N = np.isin(label_N, labels) & there_N
            if rest_N.any() and (covid_N & there_N).any():
                apart[f"{place}COVID-19 against {question}"] = rest_N | (covid_N & there_N)
        # With one kind of other films their question is the whole story.
        if not any(np.array_equal(there_N, chosen_N) for chosen_N in apart.values()):
            found[f"{place}COVID-19 against the rest"] = there_N
        found |= apart
    return found


def report_set(name: str, scored: Scored, films: Sequence[data.Film], model: Model) -> dict[str, Any]:
    """Return the figures of one set as JSON values."""
    tn, fp, fn, tp = (int(cell[0]) for cell in metrics.confusion(scored, np.ones((1, len(films)))))
    band = model.calibration
    inside = (scored.probability_N >= band.band_low) & (scored.probability_N < band.band_high)
    apart = {film.source for film in films if film.label == model.config.data.covid_label} != {
        film.source for film in films if film.label != model.config.data.covid_label
    }
    both = bool(scored.is_covid_N.any() and not scored.is_covid_N.all())
    return {
        "films": len(films),
        "covid": int(scored.is_covid_N.sum()),
        "units": len(np.unique(scored.unit_N)),
        "classes_from_different_sources": both and apart,
        "abstained": round(float(inside.mean()), 5),
        "confusion_matrix": [[tn, fp], [fn, tp]],
        "metrics": metrics.intervals(scored.unit_N, partial(metrics.figures, scored), name),
    }


def report_heads(films: Sequence[data.Film], units: NDArray[np.int64], scores: Scores, model: Model) -> Any:
    """Return the ROC AUC of each head on the films that it is asked about."""
    targets_NK = data.targets(films, model.config)
    result: dict[str, Any] = {}
    for k, name in enumerate(model.config.head_names):
        asked_N = ~np.isnan(targets_NK[:, k])
        yes_N = targets_NK[asked_N, k] == 1
        if not yes_N.any() or yes_N.all():
            continue
        found = metrics.intervals(
            units[asked_N], partial(_auc_alone, scores.logits_NK[asked_N, k], yes_N), name
        )
        result[name] = {"films": int(asked_N.sum()), "yes": int(yes_N.sum()), "metrics": found}
    return result


def _auc_alone(
    score_N: metrics.Float64, yes_N: NDArray[np.bool_], weight_BN: metrics.Float64
) -> dict[str, metrics.Float64]:
    return {"roc_auc": metrics.weighted_auc(score_N, yes_N, weight_BN)}


def evaluate(model: Model, request: Request, out: Path) -> dict[str, Any]:
    """Score films and write the report.

    Parameters
    ----------
    model
        The model; its own threshold is used, none is chosen here.
    request
        Which films.
    out
        Folder for ``metrics.json``, ``scores.csv``, and ``roc`` and ``confusion_matrix`` as JSON and PNG.

    Returns
    -------
    dict
        What ``metrics.json`` holds.

    Raises
    ------
    FileNotFoundError, ValueError
        If the manifest or split is missing or makes no sense, or no film is left.
    """
    films, reasons = choose(model, request)
    out.mkdir(parents=True, exist_ok=True)
    scores = score_films(model.network, model.config.transforms, request.manifest.parent, films)
    odds_N = probability.product_log_odds(scores.logits_NK)
    probability_N = probability.calibrated(odds_N, model.calibration)
    is_covid_N = np.array([film.label == model.config.data.covid_label for film in films], bool)
    units = data.group_units(films)
    everything = Scored(probability_N, is_covid_N, units, model.calibration.threshold)
    sets, curves = {}, {}
    for name, chosen_N in comparisons(films, model.config.data.covid_label).items():
        members = [film for film, chosen in zip(films, chosen_N, strict=True) if chosen]
        part = everything.subset(chosen_N)
        sets[name] = report_set(name, part, members, model)
        if part.is_covid_N.any() and not part.is_covid_N.all():
            curves[name] = metrics.roc_points(part)
    report = {
        "note": RESEARCH_ONLY,
        "model": {"name": model.config.name, "version": model.config.version},
        "weights_sha256": model.weights_sha256,
        "config_sha256": config_sha256(model.config),
        "data_sha256": data.manifest_sha256(request.manifest),
        "subset": request.subset if request.split else "every film",
        "threshold": model.calibration.threshold,
        "threshold_chosen_on": model.calibration.method,
        "left_out": reasons,
        "sets": sets,
        "heads": report_heads(films, units, scores, model),
    }
    write_report(out, report, curves)
    write_scores(out / "scores.csv", films, (probability_N, scores), model)
    return report


def write_report(out: Path, report: dict[str, Any], curves: dict[str, dict[str, list[float]]]) -> None:
    """Write figures, matrices and curves as JSON and as pictures."""
    matrices = {name: part["confusion_matrix"] for name, part in report["sets"].items()}
    for name, values in (("metrics", report), ("roc", curves), ("confusion_matrix", matrices)):
        (out / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n")
    shown = sets_to_show(report)
    areas = {name: _interval(report["sets"][name]["metrics"]["roc_auc"]) for name in shown}
    plots.plot_confusion(out / "confusion_matrix.png", {name: matrices[name] for name in shown})
    plots.plot_roc(out / "roc.png", {name: curves[name] for name in shown if name in curves}, areas)


def sets_to_show(report: dict[str, Any]) -> list[str]:
    """Return the sets worth a picture: honest comparisons first, then large ones, none of a few films."""
    sets: dict[str, dict[str, Any]] = report["sets"]

    def size(name: str) -> int:
        films, covid = int(sets[name]["films"]), int(sets[name]["covid"])
        return min(covid, films - covid)

    chosen = [name for name in sets if size(name) >= FEWEST] or list(sets)
    return sorted(chosen, key=lambda name: (sets[name]["classes_from_different_sources"], -size(name)))[
        :PANELS
    ]


def write_scores(
    path: Path, films: Sequence[data.Film], results: tuple[metrics.Float64, Scores], model: Model
) -> None:
    """Write a row per film: path, label, source, probability, decision and the logits of the heads."""
    probability_N, scores = results
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "source", "probability", "decision", *model.config.head_names])
        for film, p, logits in zip(films, probability_N, scores.logits_NK, strict=True):
            decision = probability.decide(float(p), model.calibration)
            row = [film.path, film.label, film.source, f"{p:.9g}", decision]
            writer.writerow([*row, *(f"{logit:.7g}" for logit in logits)])


def _interval(metric: dict[str, Any]) -> str:
    if metric["value"] is None:
        return "not defined"
    return f"{metric['value']:.3f} ({metric['low']:.3f}-{metric['high']:.3f})"


def print_report(report: dict[str, Any]) -> None:
    """Print one line per set."""
    for name, part in report["sets"].items():
        found = {key: _interval(value) for key, value in part["metrics"].items()}
        mixed = " [classes from different sources]" if part["classes_from_different_sources"] else ""
        films, covid, units = part["films"], part["covid"], part["units"]
        print(f"{name}{mixed}: {films} films, {covid} COVID-19, {units} patients or groups")
        print(f"  AUC {found['roc_auc']}, sensitivity {found['recall']}, specificity {found['specificity']}")
    for name, part in report["heads"].items():
        print(f"head {name}: {part['films']} films, AUC {_interval(part['metrics']['roc_auc'])}")
    print(report["note"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, default=RELEASE, metavar="DIR", help="model folder")
    parser.add_argument("--data", type=Path, required=True, metavar="MANIFEST", help=data.EXPECTED)
    parser.add_argument(
        "--split", type=Path, metavar="FILE",
        help="split file (path,subset); on the manifest it was trained on, a model keeps to its own",
    )  # fmt: skip
    parser.add_argument("--subset", choices=data.SUBSETS, default="test", help="subset of the split (test)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the report goes")
    parser.add_argument("--threads", type=int, help="threads of PyTorch")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        model = load_model(options.model)
        split = options.split
        own = model.provenance.get("data_sha256")
        if split is None and options.data.is_file() and data.manifest_sha256(options.data) == own:
            log.info("the model was trained on this manifest: only its %s films are scored", options.subset)
            split = options.model / SPLIT
        report = evaluate(model, Request(options.data, split, options.subset), options.out)
    except (OSError, ValueError, CxrError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print_report(report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
