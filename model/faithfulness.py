"""``python -m model.faithfulness``: which map of a model to trust, by numbers over a sample of films."""

import argparse
import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from model import own_network, plots, processor
from model.bootstrap import Figure, to_json
from model.checkpoint import RELEASE, Model, load_model
from model.command_edge import count, one_line_errors
from model.evaluate import Request, choose, request_of, scored_by
from model.film_reading import read_film
from model.manifest import EXPECTED, Film
from model.maps import METHODS
from model.maps.explainer import Explainer
from model.maps.faithful import BASELINES, KINDS, Curves, curves_of, figures_of, gains, randomised, verdict
from model.maps.faithful_plot import plot_faithfulness
from model.metrics import Float64, Units
from model.transforms import IMAGE, evaluation_transform

log = logging.getLogger(__name__)

FILMS, RANDOM_FILMS = 40, 12


@dataclass(frozen=True)
class Sample:
    """Films that are explained, one of each patient or group."""

    films: Sequence[Film]
    """The films."""
    inputs: Sequence[Tensor]
    """Each film as the network sees it."""
    units: Units
    """The patients."""


def draw(model: Model, request: Request, most: int, seed: int = 0) -> Sample:
    """Return a seeded sample of films that the model calls positive, whatever their label, one per patient.

    A map of COVID-19 says little where the model sees none, and curves of a probability near 0 are flat.

    Raises
    ------
    ValueError
        If the model calls fewer than two patients' films positive.
    """
    films, units, _ = choose(model, request)
    explainer = Explainer(model, next(iter(METHODS)))
    transform = evaluation_transform(model.config.transforms)
    rows: list[int] = []
    inputs: list[Tensor] = []
    for row in np.random.default_rng(seed).permutation(len(films)):
        if len(rows) == most:
            break
        if units.number_N[row] in units.number_N[rows]:
            continue
        image_HW = read_film(request.manifest.parent, films[row].path)
        if explainer.judge(image_HW).probability >= model.calibration.threshold:
            rows.append(int(row))
            inputs.append(transform({IMAGE: image_HW})[IMAGE].contiguous())
    if len(rows) < 2:
        raise ValueError(f"{request.manifest.name}: the model calls {len(rows)} films positive, expected two")
    return Sample([films[row] for row in rows], inputs, Units(units.number_N[rows], units.named_N[rows]))


@dataclass(frozen=True)
class Found:
    """What a run found."""

    figures: dict[str, Figure]
    """Each figure by its name."""
    curves: Curves
    """The curves of each film."""
    stages: dict[str, dict[str, Figure]]
    """Agreement with the trained map, by the part of the weights that is random."""


def measure(model: Model, sample: Sample, random_films: int = RANDOM_FILMS, seed: int = 0) -> Found:
    """Return areas, gains over the baselines, and agreement with maps of ever more random weights."""
    set_name = f"{len(sample.films)} films called positive, one of each patient, drawn by seed {seed}"
    curves = curves_of(model, sample.inputs, seed)
    areas = curves.areas()
    values = {f"{name}_area": value_N for name, value_N in areas.items()} | gains(areas)
    figures = figures_of(values, sample.units, set_name)
    some = np.arange(len(sample.films)) < random_films
    inputs, units = sample.inputs[:random_films], sample.units.subset(some)
    stages = {
        stage: figures_of(agreed, units, f"{len(inputs)} of the films, weights random: {stage}")
        for stage, agreed in randomised(model, inputs, seed)
    }
    last = list(stages.values())[-1]
    for name, figure in last.items():
        method_name, _, kind = name.partition("_")
        figures[f"{method_name}_randomised_{kind}"] = figure
    return Found(figures, curves, stages)


def write(out: Path, found: Found, sample: Sample, described: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``faithfulness`` as ``.json``, ``.csv`` and ``.png``; return what the first holds."""
    out.mkdir(parents=True, exist_ok=True)
    flat = {f"faithfulness_{name}": figure for name, figure in found.figures.items()}
    curves = {
        name: {kind: np.round(values.mean(axis=0), 5).tolist() for kind, values in by_kind.items()}
        for name, by_kind in found.curves.values.items()
    }
    details = {
        **described,
        "verdict": verdict(found.figures),
        "mean_curves": curves,
        "randomised": {stage: to_json(figures) for stage, figures in found.stages.items()},
    }
    report = {**to_json(flat), "details": details}
    (out / "faithfulness.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    write_table(out / "faithfulness.csv", found.curves.areas(), sample.films)
    drawn = plot_faithfulness(found.curves, found.stages, found.figures)
    (out / "faithfulness.png").write_bytes(plots.as_png(drawn))
    return report


def write_table(path: Path, areas: Mapping[str, Float64], films: Sequence[Film]) -> None:
    """Write a row per film and map: the areas of its curves."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "source", "map", *(f"{kind}_area" for kind in KINDS)])
        for row, film in enumerate(films):
            for name in (*METHODS, *BASELINES):
                values = [f"{areas[f'{name}_{kind}'][row]:.5f}" for kind in KINDS]
                writer.writerow([film.path, film.label, film.source, name, *values])


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(prog="python -m model.faithfulness", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=RELEASE, metavar="DIR", help="model folder; the shipped one by default")
    add("--network-file", **own_network.OPTION)
    add("--data", type=Path, required=True, metavar="MANIFEST", help=EXPECTED)
    add(
        "--split", type=Path, metavar="FILE",
        help="split file, of which the test films are taken; on the manifest it was trained on, a model "
        "keeps to its own",
    )  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--films", type=int, default=FILMS, metavar="N", help=f"most films ({FILMS})")
    add(
        "--random-films", type=int, default=RANDOM_FILMS, metavar="N",
        help=f"of these, films for the check by random weights ({RANDOM_FILMS})",
    )  # fmt: skip
    add("--seed", type=int, default=0, help="seed of the sample and of the random weights (0)")
    add("--threads", type=count, help="threads of PyTorch")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    processor.prepare(options.threads)
    if min(options.films, options.random_films) < 2:
        parser.error("an interval needs at least two films")
    with one_line_errors(parser):
        own_network.enter(options.network_file)
        model = load_model(options.model)
        request = request_of(model, options.model, options.data, options.split)
        sample = draw(model, request, options.films, options.seed)
        log.info("%d films that the model calls positive", len(sample.films))
        found = measure(model, sample, options.random_films, options.seed)
        described = {**scored_by(model, request), "seed": options.seed}
        report = write(options.out, found, sample, described)
    for name, figure in found.figures.items():
        print(f"{name}: {figure}")
    print(report["details"]["verdict"])
    print(plots.NOTE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
