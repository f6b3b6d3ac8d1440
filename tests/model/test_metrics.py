"""Figures agree with scikit-learn, and their intervals hold what they promise."""

from functools import partial

import numpy as np
import pytest
from sklearn import metrics as peer

from model.metrics import Scored, confusion, figures, intervals, roc_points, weighted_auc


@pytest.fixture
def scored() -> Scored:
    generator = np.random.default_rng(0)
    truth = generator.random(300) < 0.4
    # Rounded, so that films share scores.
    score = (0.3 * truth + 0.7 * generator.random(300)).round(2)
    return Scored(score, truth, np.arange(300) // 3, 0.5)


def test_every_figure_agrees_with_scikit_learn(scored: Scored) -> None:
    called = scored.probability_N >= scored.threshold
    found = {name: value[0] for name, value in figures(scored, np.ones((1, 300))).items()}

    assert found["roc_auc"] == pytest.approx(peer.roc_auc_score(scored.is_covid_N, scored.probability_N))
    assert found["accuracy"] == pytest.approx(peer.accuracy_score(scored.is_covid_N, called))
    assert found["precision"] == pytest.approx(peer.precision_score(scored.is_covid_N, called))
    assert found["recall"] == pytest.approx(peer.recall_score(scored.is_covid_N, called))
    assert found["specificity"] == pytest.approx(peer.recall_score(~scored.is_covid_N, ~called))
    assert found["f1"] == pytest.approx(peer.f1_score(scored.is_covid_N, called))
    assert found["brier"] == pytest.approx(peer.brier_score_loss(scored.is_covid_N, scored.probability_N))
    ours = np.array(confusion(scored, np.ones((1, 300)))).reshape(2, 2)
    np.testing.assert_array_equal(ours, peer.confusion_matrix(scored.is_covid_N, called))


def test_weights_count_films_as_often_as_they_say(scored: Scored) -> None:
    times = np.random.default_rng(1).integers(0, 4, 300)
    repeated = np.repeat(np.arange(300), times)

    (ours,) = weighted_auc(scored.probability_N, scored.is_covid_N, times[None].astype(float))

    theirs = peer.roc_auc_score(scored.is_covid_N[repeated], scored.probability_N[repeated])
    assert ours == pytest.approx(theirs)


def test_the_curve_is_that_of_scikit_learn_where_it_is_not_thinned(scored: Scored) -> None:
    curve = roc_points(scored)
    fpr, tpr, _ = peer.roc_curve(scored.is_covid_N, scored.probability_N, drop_intermediate=False)

    np.testing.assert_allclose(curve["false_positive_rate"], fpr, atol=1e-5)
    np.testing.assert_allclose(curve["true_positive_rate"], tpr, atol=1e-5)
    assert len(roc_points(scored, most=10)["threshold"]) == 11


def test_with_one_class_only_its_own_rate_is_defined(scored: Scored) -> None:
    alone = scored.subset(scored.is_covid_N)

    found = intervals(alone.unit_N, partial(figures, alone), "one class")

    defined = {name for name, metric in found.items() if metric["value"] is not None}
    assert defined == {"recall"}
    assert found["roc_auc"]["low"] is None


def test_an_interval_names_its_set_size_and_method(scored: Scored) -> None:
    found = intervals(scored.unit_N, partial(figures, scored), "phantoms")["roc_auc"]

    assert found["low"] < found["value"] < found["high"]
    assert found["n"] == 300
    assert found["set"] == "phantoms"
    assert "100 patients or groups" in found["method"]


def test_films_without_patients_are_marked_as_drawn_by_image(scored: Scored) -> None:
    found = intervals(np.arange(300), partial(figures, scored), "phantoms")["roc_auc"]

    assert "of images" in found["method"]


def test_repeated_films_of_a_patient_do_not_narrow_the_interval(scored: Scored) -> None:
    apart = Scored(scored.probability_N, scored.is_covid_N, np.arange(300), 0.5)
    copies = Scored(
        np.tile(scored.probability_N, 4), np.tile(scored.is_covid_N, 4), np.tile(np.arange(300), 4), 0.5
    )

    def width(films: Scored) -> float:
        found = intervals(films.unit_N, partial(figures, films), "phantoms")["roc_auc"]
        return float(found["high"] - found["low"])

    assert width(copies) == pytest.approx(width(apart), rel=0.02)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = np.arange(120) % 2 == 0
    covered = 0
    for seed in range(40):
        score = np.random.default_rng(seed).standard_normal(120) + truth
        drawn = Scored(score, truth, np.arange(120), 0.5)
        found = intervals(
            drawn.unit_N, lambda w, d=drawn: {"auc": weighted_auc(d.probability_N, truth, w)}, "x"
        )
        # Two normal distributions one deviation apart have AUC = Phi(1 / sqrt 2) = 0.760.
        covered += found["auc"]["low"] <= 0.7602 <= found["auc"]["high"]

    assert 33 <= covered <= 40
