"""Figures of several models of one kind: k folds, held-out families, seeds; scores are never pooled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.bootstrap import (
    Figure,
    Films,
    described,
    exact_of_rare,
    intervals,
    is_rate,
    percentiles,
    resample,
    rounded,
    to_json,
)
from model.metrics import Figures, Float64, Units


@dataclass(frozen=True)
class Fold:
    """The films that one model was scored on, having learned and chosen nothing on them."""

    name: str
    """``fold 1``, or the name of the family held out."""
    films: Films
    """The films with what that fold's model said; units are numbered over all folds together."""
    chosen_on: str
    """On which films its epoch and threshold were chosen, and which they are."""


@dataclass(frozen=True)
class FoldSummary:
    """Every figure per fold, and its mean over folds."""

    folds: Mapping[str, Mapping[str, Figure]]
    """Per fold its figures."""
    mean: Mapping[str, Figure]
    """Per figure the mean over the folds in which it is defined."""

    def joined(self, other: "FoldSummary") -> "FoldSummary":
        """Return these figures and others of the same folds."""
        both = {name: {**figures, **other.folds[name]} for name, figures in self.folds.items()}
        return FoldSummary(both, {**self.mean, **other.mean})

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "mean": to_json(self.mean),
            "folds": {name: to_json(figures) for name, figures in self.folds.items()},
        }


def summarise_folds(folds: Sequence[Fold], set_name: str, kind: str = "folds") -> FoldSummary:
    """Return each figure per fold and the mean over folds, with intervals.

    Each figure is computed within a fold, from the scores of that fold's model, and the figures are
    averaged: scores of different models have no common scale. For the mean's interval, patients are drawn
    over all folds at once and the mean is taken anew, so that a patient with films in two folds is drawn
    into both. The interval tells what other patients would change, not what another training would.

    Parameters
    ----------
    folds
        The folds; a unit has the same number in each of them.
    set_name
        Name of the set as a whole.
    kind
        ``folds`` or ``families``, in words.

    Raises
    ------
    ValueError
        If there is no fold, or two of one name.
    """
    names = [fold.name for fold in folds]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected {kind} of different names, came {names}")
    found = {
        fold.name: _with_choice(intervals(fold.films, f"{set_name}, {fold.name}"), fold) for fold in folds
    }
    units = Units(
        np.concatenate([fold.films.units.number_N for fold in folds]),
        np.concatenate([fold.films.units.named_N for fold in folds]),
    )
    shared = [name for name in found[names[0]] if all(name in figures for figures in found.values())]
    defined = {name: [fold for fold in names if found[fold][name].value is not None] for name in shared}
    whole, drawn = resample(units, lambda weight_BN: _mean(folds, defined, weight_BN))
    mean = {}
    for name in shared:
        inside = defined[name]
        n = sum(found[fold][name].n for fold in inside)
        if not inside:
            mean[name] = Figure(None, None, None, 0, set_name, f"not defined in any of {len(names)} {kind}")
            continue
        low, high = percentiles(name, whole[name], drawn[name])
        how = described(units)
        if is_rate(name):
            count = _units_behind(name, [fold for fold in folds if fold.name in inside])
            if exact := exact_of_rare(whole[name], units, count):
                low, high, how = exact
                how = f"{how}, of all {kind}"
        values = [found[fold][name].value or 0.0 for fold in inside]
        method = (
            f"mean over {len(inside)} {kind} ({', '.join(inside)}), each with its own model, never pooled, "
            f"from {min(values):.3f} to {max(values):.3f}; {how}; {_choices(folds)}"
        )
        mean[name] = Figure(rounded(whole[name]), rounded(low), rounded(high), n, set_name, method)
    return FoldSummary(found, mean)


def _units_behind(name: str, folds: Sequence[Fold]) -> int:
    """Return of how many patients the films are that a figure rests on, over the folds together."""
    behind = [fold.films.units.number_N[fold.films.base(name)] for fold in folds]
    return len(np.unique(np.concatenate(behind)))


def _with_choice(figures: Mapping[str, Figure], fold: Fold) -> dict[str, Figure]:
    return {
        name: Figure(f.value, f.low, f.high, f.n, f.set, f"{f.method}; {fold.chosen_on}")
        for name, f in figures.items()
    }


def _choices(folds: Sequence[Fold]) -> str:
    stated = dict.fromkeys(fold.chosen_on for fold in folds)
    return (
        next(iter(stated)) if len(stated) == 1 else "epoch and threshold of each chosen apart from its films"
    )


def _mean(folds: Sequence[Fold], defined: Mapping[str, Sequence[str]], weight_BN: Float64) -> Figures:
    ends = np.cumsum([len(fold.films.units.number_N) for fold in folds])[:-1]
    parts = np.split(weight_BN, ends, axis=1)
    values = {fold.name: fold.films.figures(part) for fold, part in zip(folds, parts, strict=True)}
    result: Figures = {}
    for name, inside in defined.items():
        stacked = (
            np.stack([values[fold][name] for fold in inside])
            if inside
            else np.full((1, len(weight_BN)), np.nan)
        )
        # A resample in which one fold has no figure says nothing of the mean over all of them.
        result[name] = stacked.mean(axis=0)
    return result
