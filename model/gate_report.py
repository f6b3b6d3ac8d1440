"""A gate's figures, each on films that neither its parts nor its limits have seen, and the gate itself.

Shapes: B weightings, N films, P parts.
"""

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import processor
from model.bootstrap import intervals, to_json
from model.checkpoint import load_model
from model.gate import CHILD, LATERAL, NOT_CHEST, PARTS, Gate, named_reason, save_gate
from model.gate_films import ADULT, GateFilms, gather
from model.gate_fit import BUDGET, deal_folds, family_units, fit_gate
from model.manifest import manifest_sha256
from model.metrics import Bool, Figures, Float64, Units, ratio
from model.stages import Stages

FOLDS = 5
PASS = "judged"
REFUSAL, CAUGHT = "false_alarm_rate", "sensitivity"


@dataclass(frozen=True)
class Refused:
    """N films of one kind, with which of them were refused: a share, for the bootstrap."""

    refused_N: Bool
    units: Units
    name: str
    """`REFUSAL` of adults, `CAUGHT` of what must be refused."""

    def figures(self, weight_BN: Float64) -> Figures:
        """Return the share of the films that were refused, shape B."""
        return {self.name: ratio(weight_BN @ self.refused_N, weight_BN.sum(axis=1))}

    def base(self, name: str) -> Bool:
        """Return the films that the share is of: all."""
        return np.ones(len(self.refused_N), bool)

    def undefined(self, name: str) -> str:
        """Return why there is no share."""
        return "no film"


def fit_and_report(options: argparse.Namespace) -> dict[str, Any]:
    """Fit a model's gate, measure it, write both into a folder, and return what is written of it.

    Parameters
    ----------
    options
        As `model.gate.main` reads them.

    Raises
    ------
    model.checkpoint.BadModel
        If the model folder cannot be used.
    FileNotFoundError, ValueError
        If films are missing, or a kind of them.
    """
    processor.prepare(options.threads)
    model = load_model(options.model)
    stages = Stages(model.network).names
    films = gather(model, options.data, options.gate, options.cache, options.seed)
    began = time.monotonic()
    said_N = cross_fitted(films, options.seed)
    unseen_N = left_out_families(films, options.seed)
    gate = fit_gate(films, np.ones(len(films.films), bool), stages, options.seed)
    about = {
        "figures": figures(films, said_N, unseen_N),
        "reasons": reasons(films, said_N),
        "budget": BUDGET,
        "films": dict(sorted(Counter(f"{film.kind}:{film.family}" for film in films.films).items())),
        "data_sha256": manifest_sha256(options.data),
        "seed": options.seed,
        "fitted_s": round(time.monotonic() - began),
        "notes": NOTES,
    }
    target = options.out or options.model
    target.mkdir(parents=True, exist_ok=True)
    save_gate(target, gate, model.weights_sha256, about)
    return about


NOTES = [
    "The served gate is fitted to all these films; every figure is of gates fitted, limits included, to the "
    "other folds or families.",
    "All children's chests are of one hospital: their figure is an upper bound for others. Copies of a film "
    "are held together.",
    "Among the adults may be children and laterals that nobody marked: they count as false refusals.",
]


def cross_fitted(films: GateFilms, seed: int) -> NDArray[np.str_]:
    """Return the reason of each film, or `PASS`, by a gate that was fitted to the other folds."""
    fold_N, said_N = deal_folds(films, FOLDS, seed), np.full(len(films.films), PASS, dtype=object)
    for fold in range(FOLDS):
        gate = fit_gate(films, fold_N != fold, (), seed)
        said_N[fold_N == fold] = _say(gate, films, fold_N == fold)
    return said_N.astype(str)


def left_out_families(films: GateFilms, seed: int) -> NDArray[np.str_]:
    """Return the reason of each adult, or `PASS`, by a gate that saw none of its family."""
    said_N = np.full(len(films.films), PASS, dtype=object)
    for family in films.families if len(films.families) > 1 else ():
        gate = fit_gate(films, ~family_units(films, family), (), seed)
        asked_N = (films.kind_N == ADULT) & (films.family_N == family)
        said_N[asked_N] = _say(gate, films, asked_N)
    return said_N.astype(str)


def _say(gate: Gate, films: GateFilms, asked_N: Bool) -> list[str]:
    margin_NP = gate.weights.scores(films.summary_NF[asked_N]) - gate.limits_P
    return [named_reason(margin_P) or PASS for margin_P in margin_NP]


def figures(films: GateFilms, said_N: NDArray[np.str_], unseen_N: NDArray[np.str_]) -> dict[str, Any]:
    """Return the figures by name, each with its interval, its films and its method."""
    adult_N = films.kind_N == ADULT
    cross = f"gate fitted, limits included, to the other folds of {FOLDS} by patient and group"
    found = {"gate_false_refusal_rate": _share(films, said_N, adult_N, "adult frontal films", cross, REFUSAL)}
    for family in films.families:
        mine_N, of = adult_N & (films.family_N == family), f"adult frontal films of {family}"
        name = family.replace(" ", "_")
        found[f"gate_false_refusal_rate_{name}"] = _share(films, said_N, mine_N, of, cross, REFUSAL)
        if len(films.families) > 1:
            unseen = "gate fitted, limits included, to the other families"
            found[f"gate_false_refusal_rate_{name}_left_out"] = _share(
                films, unseen_N, mine_N, of, unseen, REFUSAL
            )
    for part, words in ((LATERAL, "lateral"), (NOT_CHEST, "non_chest"), (CHILD, "child")):
        there_N, of = (films.kind_N == part) & films.counted_N, f"films and pictures of kind {part}"
        found[f"gate_{words}_sensitivity"] = _share(films, said_N, there_N, of, cross, CAUGHT)
    return found


def _share(
    films: GateFilms, said_N: NDArray[np.str_], of_N: Bool, set_name: str, how: str, name: str
) -> dict[str, Any]:
    named_N = np.array([film.names_patient for film in films.films])
    guessed_N = np.array([film.neighbours for film in films.films])
    alone_N = -1 - np.arange(len(films.films))
    units = Units(np.where(guessed_N, alone_N, films.unit_N), named_N).subset(of_N)
    refused = Refused(said_N[of_N] != PASS, units, name)
    figure = to_json(intervals(refused, set_name))[name]
    return figure | {"method": f"{how}; {figure['method']}"}


def reasons(films: GateFilms, said_N: NDArray[np.str_]) -> dict[str, dict[str, int]]:
    """Return how often each reason was said of each kind and origin."""
    found: dict[str, dict[str, int]] = {}
    for film, said in zip(films.films, said_N, strict=True):
        if film.turns == 0:
            row = found.setdefault(f"{film.kind}:{film.family}", dict.fromkeys((PASS, *PARTS), 0))
            row[said] += 1
    return dict(sorted(found.items()))
