"""Calibration puts right what was put wrong, and thresholds and bands hold what they promise."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from model.calibrate import band, fit_calibration, platt, youden_threshold
from model.checkpoint import Calibration
from model.config import DecisionConfig
from model.probability import calibrated, decide, log_odds, product_log_odds, sigmoid

Drawn = tuple[NDArray[np.float64], NDArray[np.bool_]]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """Log-odds that are twice too sure and one too low, and the answers."""
    generator = np.random.default_rng(0)
    honest = generator.normal(0, 2, 20_000)
    return 2 * honest - 1, generator.random(20_000) < sigmoid(honest)


def test_platt_finds_the_line_that_was_bent(drawn: Drawn) -> None:
    slope, intercept = platt(*drawn)

    assert slope == pytest.approx(0.5, abs=0.02)
    assert intercept == pytest.approx(0.5, abs=0.05)


def test_a_calibrated_probability_is_a_frequency(drawn: Drawn) -> None:
    odds, truth = drawn
    found = fit_calibration(odds, truth, np.ones(len(odds)), DecisionConfig(), "test")
    probability = calibrated(odds, found)

    for low in np.arange(0.1, 0.9, 0.2):
        inside = (probability >= low) & (probability < low + 0.2)
        assert truth[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.03)


def test_the_threshold_is_youdens(drawn: Drawn) -> None:
    odds, truth = drawn
    probability = sigmoid(odds)
    threshold = youden_threshold(probability, truth)
    called = probability >= threshold

    fpr, tpr, _ = roc_curve(truth, probability)
    assert called[truth].mean() - called[~truth].mean() == pytest.approx((tpr - fpr).max())


def test_equal_scores_are_not_cut_apart() -> None:
    threshold = youden_threshold(
        np.array([0.2, 0.5, 0.5, 0.5, 0.9]), np.array([False, False, True, True, True])
    )

    assert threshold == pytest.approx(0.35)


def test_the_band_holds_the_fraction_of_films_nearest_the_threshold(drawn: Drawn) -> None:
    probability = sigmoid(drawn[0])

    low, high = band(probability, 0.4, 0.15)

    assert low < 0.4 < high
    assert ((probability >= low) & (probability < high)).mean() == pytest.approx(0.15, abs=0.001)
    assert band(probability, 0.4, 0.0) == pytest.approx((0.4, 0.4))


def test_an_assumed_prevalence_shifts_the_odds_and_nothing_else(drawn: Drawn) -> None:
    odds, truth = drawn
    as_seen = fit_calibration(odds, truth, np.ones(len(odds)), DecisionConfig(), "test")
    rare = fit_calibration(odds, truth, np.ones(len(odds)), DecisionConfig(prevalence=0.05), "test")

    shift = log_odds(calibrated(odds, rare)) - log_odds(calibrated(odds, as_seen))

    np.testing.assert_allclose(shift, log_odds(0.05) - log_odds(as_seen.prevalence_training), atol=1e-6)
    same = (calibrated(odds, rare) >= rare.threshold) == (calibrated(odds, as_seen) >= as_seen.threshold)
    assert same.all()
    assert rare.prevalence_assumed == 0.05


def test_the_scale_of_the_map_comes_from_covid_films_alone(drawn: Drawn) -> None:
    odds, truth = drawn
    tops = np.where(truth, 0.3, 50.0)

    assert fit_calibration(odds, truth, tops, DecisionConfig(), "test").cam_scale == pytest.approx(0.3)


def test_calibration_on_one_class_is_refused(drawn: Drawn) -> None:
    with pytest.raises(ValueError, match="both kinds"):
        fit_calibration(drawn[0], np.ones(20_000, bool), np.ones(20_000), DecisionConfig(), "test")


def test_heads_that_point_the_wrong_way_are_not_turned_round(
    drawn: Drawn, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = fit_calibration(-drawn[0], drawn[1], np.ones(20_000), DecisionConfig(), "test")

    assert 0 < found.slope < 0.01
    assert "do not tell" in caplog.text


@given(st.lists(st.floats(-80, 80), min_size=1, max_size=3))
def test_the_product_of_the_heads_is_a_product(logits: list[float]) -> None:
    odds = product_log_odds(np.array([logits]))

    assert np.isfinite(odds).all()
    assert sigmoid(odds)[0] == pytest.approx(np.prod(sigmoid(np.array(logits))), rel=1e-6, abs=1e-12)


@given(st.floats(-20, 20))
def test_a_model_of_one_head_gives_back_its_logit(logit: float) -> None:
    assert product_log_odds(np.array([[logit]]))[0] == pytest.approx(logit, abs=1e-6)


@pytest.mark.parametrize(
    ("probability", "decision"),
    [
        (0.0, "negative"),
        (0.3999, "negative"),
        (0.4, "indeterminate"),
        (0.5999, "indeterminate"),
        (0.6, "positive"),
        (1.0, "positive"),
    ],
)
def test_inside_the_band_the_model_abstains(
    probability: float, decision: str, calibration: Calibration
) -> None:
    assert decide(probability, calibration) == decision
