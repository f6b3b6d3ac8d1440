"""Figures of a two-class decision, each with an interval from a bootstrap over patients."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
RESAMPLES = 1000
CHUNK = 50
"""Resamples at a time: bounds the memory to this many numbers per film."""


@dataclass(frozen=True)
class Scored:
    """N scored films of one set."""

    probability_N: Float64
    """Calibrated probability of COVID-19."""
    is_covid_N: NDArray[np.bool_]
    """The truth."""
    unit_N: NDArray[np.int64]
    """Number of the patient or group; films of one unit are drawn together."""
    threshold: float
    """From this probability on a film counts as positive; chosen elsewhere."""

    def subset(self, chosen_N: NDArray[np.bool_]) -> "Scored":
        """Return the chosen films."""
        return Scored(
            self.probability_N[chosen_N], self.is_covid_N[chosen_N], self.unit_N[chosen_N], self.threshold
        )


def _ratio(part: Float64, whole: Float64) -> Float64:
    result: Float64 = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return result


def weighted_auc(score_N: Float64, is_covid_N: NDArray[np.bool_], weight_BN: Float64) -> Float64:
    """Return the area under the ROC curve for each of B weightings of the films.

    Mann-Whitney, ties count half; NaN where one class is missing.
    """
    order = np.argsort(score_N, kind="stable")
    sorted_N, truth_N, weight_BN = score_N[order], is_covid_N[order], weight_BN[:, order]
    starts = np.flatnonzero(np.append(True, sorted_N[1:] > sorted_N[:-1]))
    covid_BS = np.add.reduceat(weight_BN * truth_N, starts, axis=1)
    rest_BS = np.add.reduceat(weight_BN * ~truth_N, starts, axis=1)
    below_BS = np.cumsum(rest_BS, axis=1) - rest_BS / 2
    return _ratio((covid_BS * below_BS).sum(axis=1), covid_BS.sum(axis=1) * rest_BS.sum(axis=1))


def confusion(scored: Scored, weight_BN: Float64) -> tuple[Float64, Float64, Float64, Float64]:
    """Return true and false negatives and positives (tn, fp, fn, tp) at the threshold, each of shape B."""
    positive_N = scored.probability_N >= scored.threshold
    truth_N = scored.is_covid_N
    cells_N4 = np.stack(
        [~truth_N & ~positive_N, ~truth_N & positive_N, truth_N & ~positive_N, truth_N & positive_N], axis=1
    )
    tn, fp, fn, tp = (weight_BN @ cells_N4.astype(float)).T
    return tn, fp, fn, tp


def figures(scored: Scored, weight_BN: Float64) -> dict[str, Float64]:
    """Return every figure of the set, shape B, NaN where it is not defined.

    With one class only, accuracy, precision, F1 and the Brier score would speak of a mixture that is not
    there: NaN as well.
    """
    tn, fp, fn, tp = confusion(scored, weight_BN)
    error_N = (scored.probability_N - scored.is_covid_N) ** 2
    films = tn + fp + fn + tp
    values = {
        "recall": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "accuracy": _ratio(tn + tp, films),
        "precision": _ratio(tp, tp + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "roc_auc": weighted_auc(scored.probability_N, scored.is_covid_N, weight_BN),
        "brier": _ratio(weight_BN @ error_N, films),
    }
    one_class = (tn + fp == 0) | (tp + fn == 0)
    for name in ("accuracy", "precision", "f1", "brier"):
        values[name][one_class] = np.nan
    return values


def intervals(
    unit_N: NDArray[np.int64], figures_of: Callable[[Float64], dict[str, Float64]], name: str, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Return each figure with its 95 % interval (percentile bootstrap).

    Parameters
    ----------
    unit_N
        Number of the patient or group of each film. Units are drawn with replacement, films with them.
    figures_of
        Weights ``weight_BN`` of the films to figures of shape B; whole films weigh 1.
    name
        Name of the set, stored with each figure.
    seed
        Seed of the draws.

    Returns
    -------
    dict
        Per figure ``value, low, high, n, set, method``; value, low and high are None where not defined.
    """
    _, unit_N = np.unique(unit_N, return_inverse=True)
    units, films = int(unit_N.max()) + 1, len(unit_N)
    whole = figures_of(np.ones((1, films)))
    generator = np.random.default_rng(seed)
    even = np.full(units, 1 / units)
    draws: dict[str, list[Float64]] = {key: [] for key in whole}
    for _ in range(RESAMPLES // CHUNK):
        weight_BN = generator.multinomial(units, even, size=CHUNK)[:, unit_N].astype(float)
        for key, drawn_B in figures_of(weight_BN).items():
            draws[key].append(drawn_B)
    over = f"{units} patients or groups" if units < films else "images, each its own patient as far as known"
    method = f"percentile bootstrap, 95 %, {RESAMPLES} resamples of {over}"
    result: dict[str, dict[str, Any]] = {}
    for key, value in whole.items():
        drawn_B = np.concatenate(draws[key])
        drawn_B = drawn_B[~np.isnan(drawn_B)]
        defined = len(drawn_B) > 0 and not np.isnan(value[0])
        low, high = np.percentile(drawn_B, [2.5, 97.5]) if defined else (math.nan, math.nan)
        result[key] = {
            "value": _rounded(value[0]), "low": _rounded(low), "high": _rounded(high),
            "n": films, "set": name, "method": method,
        }  # fmt: skip
    return result


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 5)


def roc_points(scored: Scored, most: int = 400) -> dict[str, list[float]]:
    """Return the ROC curve as lists of rates and thresholds, thinned to at most `most` points."""
    order = np.argsort(-scored.probability_N, kind="stable")
    scores, truth = scored.probability_N[order], scored.is_covid_N[order]
    last = np.append(scores[1:] < scores[:-1], True)
    tpr = np.cumsum(truth)[last] / truth.sum()
    fpr = np.cumsum(~truth)[last] / (~truth).sum()
    keep = np.unique(np.linspace(0, len(tpr) - 1, min(most, len(tpr))).astype(int))
    return {
        "false_positive_rate": [0.0, *np.round(fpr[keep], 5).tolist()],
        "true_positive_rate": [0.0, *np.round(tpr[keep], 5).tolist()],
        # The curve starts above every score; 1 is the largest probability there is.
        "threshold": [1.0, *np.round(scores[last][keep], 5).tolist()],
    }
