"""How faithful each map is: what the answer loses with its cells, and whether random weights change it."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.answers import covid_log_odds
from model.bootstrap import Figure, intervals
from model.checkpoint import Model
from model.maps.agreement import (
    GRID,
    area,
    blurred,
    on_grid,
    rank_correlation,
    steps_between,
    structural_similarity,
)  # fmt: skip
from model.maps.randomise import cascade
from model.maps.registry import METHODS
from model.metrics import Bool, Figures, Float64, Units, ratio
from model.probability import calibrated

RANDOM, CENTRE = "random", "centre"
"""Maps that know nothing of the film: noise, and a hill in the middle."""
BASELINES = (RANDOM, CENTRE)
KINDS = ("deletion", "insertion")
MEASURES = ("rank_correlation", "ssim")
CENTRE_DEVIATION = 0.25
"""Of the hill, as part of the side."""
MOST_LEFT = 0.5
"""A map whose rank correlation with that of a wholly random network may reach this shows the film alone."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Means:
    """N films with one number of each name, to be averaged."""

    values: Mapping[str, Float64]
    """By name a number per film."""
    units: Units
    """The patients."""

    def figures(self, weight_BN: Float64) -> Figures:
        """Return the mean of each number for each weighting."""
        total_B = weight_BN.sum(axis=1)
        return {name: ratio(weight_BN @ value_N, total_B) for name, value_N in self.values.items()}

    def base(self, name: str) -> Bool:
        """Return all films."""
        return np.ones(len(self.units.number_N), bool)

    def undefined(self, name: str) -> str:
        """Return why a figure is not defined, in words."""
        return "no film"


@dataclass(frozen=True)
class Curves:
    """Curves of N films: by map and kind, ``values_NS`` of calibrated P(COVID-19)."""

    values: Mapping[str, Mapping[str, Float64]]
    """By the name of the map and the kind of curve."""

    def areas(self) -> dict[str, Float64]:
        """Return the area under each film's curve, by ``map_kind``."""
        return {
            f"{name}_{kind}": np.array([area(row_S) for row_S in by_kind[kind]])
            for name, by_kind in self.values.items()
            for kind in KINDS
        }


def baseline(name: str, seed: int) -> NDArray[np.float32]:
    """Return a map that knows nothing of the film, in `GRID` cells a side."""
    if name == RANDOM:
        return np.random.default_rng(seed).random((GRID, GRID)).astype(np.float32)
    y, x = (np.mgrid[0:GRID, 0:GRID] + 0.5) / GRID - 0.5
    hill_HW: NDArray[np.float32] = np.exp(-(x**2 + y**2) / (2 * CENTRE_DEVIATION**2)).astype(np.float32)
    return hill_HW


def curves_of(model: Model, films: Sequence[Tensor], seed: int = 0) -> Curves:
    """Return deletion and insertion curves (Petsiuk et al. 2018, arXiv:1806.07421) of every map.

    Deletion greys out the highest cells first: the lower its area, the better. Insertion gives them back
    to a blurred film: the higher its area, the better.
    """
    rows: dict[str, dict[str, list[Float64]]] = {
        name: {kind: [] for kind in KINDS} for name in (*METHODS, *BASELINES)
    }
    for number, film_CHW in enumerate(films):
        cells = {name: on_grid(each.explain(model.network, film_CHW)) for name, each in METHODS.items()}
        cells |= {name: baseline(name, seed * 100_003 + number) for name in BASELINES}
        soft_CHW = blurred(film_CHW)
        for name, cells_HW in cells.items():
            gone = steps_between(film_CHW, torch.zeros_like(film_CHW), cells_HW)
            back = steps_between(soft_CHW, film_CHW, cells_HW)
            rows[name]["deletion"].append(_probabilities(model, gone))
            rows[name]["insertion"].append(_probabilities(model, back))
        log.info("film %d of %d: deletion and insertion by every map", number + 1, len(films))
    return Curves(
        {name: {kind: np.stack(values) for kind, values in by_kind.items()} for name, by_kind in rows.items()}
    )


def _probabilities(model: Model, batch_NCHW: Tensor) -> Float64:
    with torch.no_grad():
        logits_NK = model.network(batch_NCHW)
    odds_N = covid_log_odds(logits_NK.double().numpy(), model.config)
    return calibrated(odds_N, model.calibration)


def randomised(
    model: Model, films: Sequence[Tensor], seed: int = 0
) -> Iterator[tuple[str, dict[str, Float64]]]:
    """Yield, for each part of the weights made random, how far maps still agree with the trained ones.

    The numbers are per film, by ``map_measure``.
    """
    trained = {
        name: [each.explain(model.network, film_CHW) for film_CHW in films] for name, each in METHODS.items()
    }
    measures = {"rank_correlation": rank_correlation, "ssim": structural_similarity}
    for stage, network in cascade(model.network, torch.stack(list(films)), seed):
        agreed: dict[str, list[float]] = {f"{name}_{kind}": [] for name in METHODS for kind in MEASURES}
        for name, each in METHODS.items():
            for film_CHW, before_HW in zip(films, trained[name], strict=True):
                after_HW = each.explain(network, film_CHW)
                for kind, measure in measures.items():
                    agreed[f"{name}_{kind}"].append(measure(before_HW, after_HW))
        log.info("random weights from the heads down to %s: maps of %d films compared", stage, len(films))
        yield stage, {name: np.array(values) for name, values in agreed.items()}


def gains(areas: Mapping[str, Float64]) -> dict[str, Float64]:
    """Return by how much each map beats each baseline, per film; above 0 it is better."""
    found: dict[str, Float64] = {}
    for name in METHODS:
        for other in BASELINES:
            found[f"{name}_deletion_gain_over_{other}"] = (
                areas[f"{other}_deletion"] - areas[f"{name}_deletion"]
            )
            found[f"{name}_insertion_gain_over_{other}"] = (
                areas[f"{name}_insertion"] - areas[f"{other}_insertion"]
            )
    return found


def figures_of(values: Mapping[str, Float64], units: Units, set_name: str) -> dict[str, Figure]:
    """Return the mean of each number over films, with its interval."""
    return intervals(Means(values, units), set_name)


def failings(name: str, figures: Mapping[str, Any]) -> list[str]:
    """Return what speaks against a map, in words; nothing does where it is to be trusted.

    The rule: the area of its deletion and of its insertion curve beats that of a random map and of a hill in
    the middle, with an interval above 0; and its rank correlation with the map of a wholly random network
    has an interval below `MOST_LEFT`.
    """
    found = []
    for kind in KINDS:
        beaten_by = [
            other for other in BASELINES if not _above(figures[f"{name}_{kind}_gain_over_{other}"].low, 0.0)
        ]
        if beaten_by:
            found.append(f"{kind} is not shown to beat {' and '.join(beaten_by)}")
    left = figures[f"{name}_randomised_rank_correlation"]
    if left.high is None or left.high >= MOST_LEFT:
        found.append(f"it hardly changes when the weights are random (rank correlation {left})")
    return found


def _above(value: float | None, bound: float) -> bool:
    return value is not None and value > bound


def verdict(figures: Mapping[str, Figure]) -> str:
    """Return which map to trust, in a sentence, by the rule of `failings`."""
    failed = {name: failings(name, figures) for name in METHODS}

    def score(name: str) -> float:
        values = (figures[f"{name}_{kind}_area"].value or 0.0 for kind in KINDS)
        deletion, insertion = values
        return insertion - deletion

    passed = sorted((name for name in METHODS if not failed[name]), key=score, reverse=True)
    rest = "; ".join(f"{name}: {', '.join(failed[name])}" for name in METHODS if failed[name])
    if not passed:
        return f"No map is shown to be trustworthy on these films. {rest}."
    best = passed[0]
    text = (
        f"Trust {best}: of the maps that beat a random one and the centre of the film at deletion and "
        f"insertion, and that notice random weights ({', '.join(passed)}), it parts the two areas most, by "
        f"{score(best):.3f}."
    )
    return f"{text} Not shown to be trustworthy: {rest}." if rest else text
