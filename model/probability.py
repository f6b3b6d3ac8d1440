"""Logits become P(COVID-19) and a decision: the heads joined, then calibrated."""

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.checkpoint import Calibration

Decision = Literal["positive", "negative", "indeterminate"]
Float64 = NDArray[np.float64]


def log_odds(probability: Float64 | float) -> Float64:
    """Return ``log(p / (1 - p))``."""
    p = np.asarray(probability, np.float64)
    result: Float64 = np.log(p) - np.log1p(-p)
    return result


def sigmoid(value: Float64 | float) -> Float64:
    """Return ``1 / (1 + exp(-value))`` without overflow."""
    result: Float64 = np.exp(-np.logaddexp(0.0, -np.asarray(value, np.float64)))
    return result


def product_log_odds(logits_NK: NDArray[np.floating]) -> Float64:
    """Return the log-odds, shape N, of the product of the heads' probabilities.

    For the two heads of the released model ``P(COVID-19) = P(abnormal) * P(COVID-19 given abnormal)``; a
    model of one head gives back its logit.
    """
    log_p_N = -np.logaddexp(0.0, -np.asarray(logits_NK, np.float64)).sum(axis=1)
    # The complement by expm1 keeps its digits when the product is near 1; below -1e-12 it is never 0.
    log_p_N = np.minimum(log_p_N, -1e-12)
    result: Float64 = log_p_N - np.log(-np.expm1(log_p_N))
    return result


def mapped_log_odds(odds_N: Float64, slope: float, slope_rest: float | None, intercept: float) -> Float64:
    """Return calibrated log-odds for the log-odds of the joined heads.

    Platt (1999): ``slope * odds + intercept``. Beta (Kull 2017), where there is a second slope:
    ``slope * log p - slope_rest * log(1 - p) + intercept``, of which Platt's is the case of equal slopes.
    """
    if slope_rest is None:
        return slope * odds_N + intercept
    log_p_N, log_rest_N = -np.logaddexp(0.0, -odds_N), -np.logaddexp(0.0, odds_N)
    result: Float64 = slope * log_p_N - slope_rest * log_rest_N + intercept
    return result


def calibrated(odds_N: Float64, calibration: Calibration) -> Float64:
    """Return calibrated probabilities for the log-odds of the joined heads."""
    return sigmoid(mapped_log_odds(odds_N, calibration.slope, calibration.slope_rest, calibration.intercept))


def decide(probability: float, calibration: Calibration) -> Decision:
    """Return the decision; inside the band the model abstains."""
    if probability >= calibration.band_high:
        return "positive"
    return "negative" if probability < calibration.band_low else "indeterminate"


def shifted(calibration: Calibration, prevalence: float) -> Calibration:
    """Return the calibration for another share of COVID-19; every film keeps its decision.

    Raises
    ------
    ValueError
        If `prevalence` does not lie between 0 and 1.
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence must lie between 0 and 1, is {prevalence}")
    shift = float(log_odds(prevalence) - log_odds(calibration.prevalence_assumed))

    def moved(p: float) -> float:
        return float(sigmoid(log_odds(p) + shift)) if 0 < p < 1 else p

    return dataclasses.replace(
        calibration, intercept=calibration.intercept + shift, prevalence_assumed=prevalence,
        threshold=moved(calibration.threshold), band_low=moved(calibration.band_low),
        band_high=moved(calibration.band_high),
    )  # fmt: skip
