"""Scores of calibration films become a probability, a threshold, a band and the scale of the map."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.checkpoint import Calibration
from model.config import Config, DecisionConfig
from model.data import Film
from model.network import FilmNetwork
from model.probability import Float64, log_odds, product_log_odds, sigmoid
from model.scoring import score_films

log = logging.getLogger(__name__)

MIN_SLOPE = 1e-3
"""A slope of 0 or below would turn the heads' order round; such a model has learned nothing."""


def platt(odds_N: Float64, is_covid_N: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and intercept of the logistic regression of the answer on the log-odds (Platt 1999)."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6).fit(odds_N[:, None], is_covid_N)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def youden_threshold(probability_N: Float64, is_covid_N: NDArray[np.bool_]) -> float:
    """Return the threshold with the largest sensitivity + specificity - 1, halfway between two films.

    Films at or above the threshold count as positive.
    """
    order = np.argsort(probability_N, kind="stable")
    scores, truth = probability_N[order], is_covid_N[order]
    # Cutting before film i leaves films i and above as positives; equal scores cannot be cut apart.
    missed = np.concatenate([[0], np.cumsum(truth)]) / truth.sum()
    rejected = np.concatenate([[0], np.cumsum(~truth)]) / (~truth).sum()
    allowed = np.concatenate([[False], scores[1:] > scores[:-1], [False]])
    cut = int(np.argmax(np.where(allowed, rejected - missed, -1.0)))
    return float(scores[cut] + scores[cut - 1]) / 2 if allowed.any() else float(scores[0])


def band(probability_N: Float64, threshold: float, fraction: float) -> tuple[float, float]:
    """Return the band around the threshold, even in log-odds, that holds `fraction` of the films."""
    centre = log_odds(threshold)
    reach = np.quantile(np.abs(log_odds(probability_N) - centre), fraction) if fraction > 0 else 0.0
    return float(sigmoid(centre - reach)), float(sigmoid(centre + reach))


def fit_calibration(
    odds_N: Float64, is_covid_N: NDArray[np.bool_], cam_top_N: Float64, config: DecisionConfig, method: str
) -> Calibration:
    """Return the calibration of a model from the scores of its calibration films.

    Parameters
    ----------
    odds_N
        Log-odds of the product of the heads.
    is_covid_N
        The truth.
    cam_top_N
        Largest value of each film's raw map.
    config
        Width of the band, assumed prevalence, percentile of the map's scale.
    method
        One line on the films, kept with the model.

    Raises
    ------
    ValueError
        If one of the two answers is missing.
    """
    if is_covid_N.all() or not is_covid_N.any():
        raise ValueError(f"calibration needs films of both kinds, came {len(is_covid_N)} of one")
    slope, intercept = platt(odds_N, is_covid_N)
    if slope < MIN_SLOPE:
        log.warning("the heads do not tell COVID-19 on the calibration films (slope %.3g)", slope)
        slope = MIN_SLOPE
    seen = float(is_covid_N.mean())
    assumed = seen if config.prevalence is None else config.prevalence
    # A change of prevalence multiplies the odds of every film by the same factor (Bayes).
    intercept += float(log_odds(assumed) - log_odds(seen))
    probability_N = sigmoid(slope * odds_N + intercept)
    threshold = youden_threshold(probability_N, is_covid_N)
    low, high = band(probability_N, threshold, config.band_fraction)
    scale = float(np.percentile(cam_top_N[is_covid_N], config.cam_percentile))
    return Calibration(
        slope=slope, intercept=intercept, threshold=threshold, band_low=low, band_high=high,
        prevalence_training=seen, prevalence_assumed=assumed, cam_scale=max(scale, 1e-6),
        films=len(is_covid_N), method=method,
    )  # fmt: skip


def calibrate(network: FilmNetwork, config: Config, folder: Path, films: Sequence[Film]) -> Calibration:
    """Score the calibration films and return the calibration.

    Of films that only share a patient or group with a calibration source, none is used.
    """
    sources = set(config.data.calibration_sources)
    used = [film for film in films if not sources or film.source in sources]
    scores = score_films(network, config.transforms, folder, used)
    is_covid_N = np.array([film.label == config.data.covid_label for film in used], bool)
    where = f"the calibration part of {', '.join(sorted(sources))}" if sources else "the validation films"
    method = (
        f"Platt scaling, Youden threshold and band on {where} ({int(is_covid_N.sum())} COVID-19, "
        f"{int((~is_covid_N).sum())} others)"
    )
    odds_N = product_log_odds(scores.logits_NK)
    return fit_calibration(odds_N, is_covid_N, scores.cam_top_N, config.decision, method)
