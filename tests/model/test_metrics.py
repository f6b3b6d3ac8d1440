"""Figures agree with scikit-learn or with a case computed by hand, for one weighting and for many."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn import metrics as peer

from model.metrics import (
    BINS,
    Called,
    Judged,
    Ranked,
    Scored,
    Units,
    error_by_chance,
    net_benefit,
    reliability,
    weighted_auc,
)

ONES = np.ones((1, 300))


@pytest.fixture
def scored() -> Scored:
    generator = np.random.default_rng(0)
    truth = generator.random(300) < 0.4
    # Rounded, so that films share scores.
    score = (0.3 * truth + 0.7 * generator.random(300)).round(2)
    return Scored(score, truth, Units(np.arange(300) // 3, np.ones(300, bool)), 0.5)


def test_every_figure_agrees_with_scikit_learn(scored: Scored) -> None:
    truth, p, called = scored.is_covid_N, scored.probability_N, scored.called
    expected = {
        "accuracy": peer.accuracy_score(truth, called),
        "balanced_accuracy": peer.balanced_accuracy_score(truth, called),
        "precision": peer.precision_score(truth, called),
        "sensitivity": peer.recall_score(truth, called),
        "specificity": peer.recall_score(~truth, ~called),
        "f1": peer.f1_score(truth, called),
        "npv": peer.precision_score(~truth, ~called),
        "mcc": peer.matthews_corrcoef(truth, called),
        "roc_auc": peer.roc_auc_score(truth, p),
        "pr_auc": peer.average_precision_score(truth, p),
        "brier": peer.brier_score_loss(truth, p),
    }

    found = {name: value[0] for name, value in scored.figures(ONES).items()}

    assert found.pop("ece") > 0
    assert found == pytest.approx(expected)


def test_weights_count_films_as_often_as_they_say(scored: Scored) -> None:
    times = np.random.default_rng(1).integers(0, 4, (3, 300))

    weighted = scored.figures(times.astype(float))

    for row, count in enumerate(times):
        repeated = scored.subset(np.ones(300, bool))
        again = np.repeat(np.arange(300), count)
        repeated = Scored(
            scored.probability_N[again], scored.is_covid_N[again], Units.alone(len(again)), scored.threshold
        )
        alone = repeated.figures(np.ones((1, len(again))))
        for name, value in alone.items():
            assert weighted[name][row] == pytest.approx(value[0]), name


def test_the_calibration_error_is_that_of_bins_of_equal_numbers() -> None:
    generator = np.random.default_rng(2)
    p = generator.random(BINS * 20)
    truth = generator.random(BINS * 20) < p**2
    order = np.argsort(p)
    by_hand = np.mean([abs(p[part].mean() - truth[part].mean()) for part in np.array_split(order, BINS)])

    found = Scored(p, truth, Units.alone(len(p)), 0.5).figures(np.ones((1, len(p))))["ece"][0]

    assert found == pytest.approx(by_hand)


def test_films_of_equal_score_are_not_parted_by_their_order() -> None:
    """Sorted by label, films of one score would fall into bins of one class each."""
    truth = np.arange(60) < 30

    found = Scored(np.full(60, 0.5), truth, Units.alone(60), 0.5).figures(np.ones((1, 60)))

    assert found["ece"][0] == pytest.approx(0)
    assert found["roc_auc"][0] == 0.5


def test_a_right_model_of_few_films_shows_an_error_by_chance_alone() -> None:
    generator = np.random.default_rng(3)
    p = generator.random(300)
    drawn = [
        Scored(p, generator.random(300) < p, Units.alone(300), 0.5).figures(ONES)["ece"][0] for _ in range(60)
    ]

    assert error_by_chance(p) == pytest.approx(float(np.mean(drawn)), abs=0.006)
    assert error_by_chance(generator.random(6000)) < error_by_chance(p) / 3


def test_with_one_class_only_its_own_rate_is_defined(scored: Scored) -> None:
    alone = scored.subset(scored.is_covid_N)

    found = alone.figures(np.ones((1, len(alone.is_covid_N))))

    assert {name for name, value in found.items() if not np.isnan(value[0])} == {"sensitivity"}
    assert alone.undefined("roc_auc") == "no film without COVID-19"


def test_what_divides_by_nothing_is_not_defined(scored: Scored) -> None:
    never = Scored(scored.probability_N, scored.is_covid_N, scored.units, 2.0)

    found = never.figures(ONES)

    assert np.isnan(found["precision"][0])
    assert np.isnan(found["mcc"][0])
    assert never.undefined("precision") == "nothing was called positive"
    assert found["npv"][0] == pytest.approx((~scored.is_covid_N).mean())


def test_the_films_behind_a_figure_are_those_of_its_denominator(scored: Scored) -> None:
    assert scored.base("sensitivity").sum() == scored.is_covid_N.sum()
    assert scored.base("specificity").sum() == (~scored.is_covid_N).sum()
    assert scored.base("precision").sum() == scored.called.sum()
    assert scored.base("npv").sum() == (~scored.called).sum()
    assert scored.base("roc_auc").all()


def test_a_threshold_may_differ_from_film_to_film() -> None:
    films = Scored(
        np.array([0.3, 0.3, 0.7]), np.array([True, False, True]), Units.alone(3), np.array([0.2, 0.5, 0.9])
    )

    assert films.called.tolist() == [True, False, False]
    assert films.subset(np.array([True, False, True])).called.tolist() == [True, False]


def test_errors_among_judged_films_by_hand() -> None:
    # COVID-19: one right, one missed, one open. The others: two right, one alarmed, one open.
    truth = np.array([True] * 3 + [False] * 4)
    judged = Judged(np.array([1, -1, 0, -1, -1, 1, 0]), truth, Units.alone(7))

    found = {name: value[0] for name, value in judged.figures(np.ones((1, 7))).items()}

    assert found == pytest.approx(
        {"abstain_rate": 2 / 7, "error_among_judged": 2 / 5, "missed_rate": 1 / 3, "false_alarm_rate": 1 / 4}
    )
    assert {name: judged.base(name).sum() for name in found} == {
        "abstain_rate": 7, "error_among_judged": 5, "missed_rate": 3, "false_alarm_rate": 4
    }  # fmt: skip


def test_three_classes_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(4)
    truth = generator.integers(0, 3, 200)
    called = np.where(generator.random(200) < 0.7, truth, generator.integers(0, 3, 200))
    films = Called(truth, called, Units.alone(200), ("covid", "normal", "pneumonia"))

    found = {name: value[0] for name, value in films.figures(np.ones((1, 200))).items()}

    recall, precision = (
        score(truth, called, average=None) for score in (peer.recall_score, peer.precision_score)
    )
    expected = {
        "accuracy": peer.accuracy_score(truth, called),
        "balanced_accuracy": peer.balanced_accuracy_score(truth, called),
        "macro_f1": peer.f1_score(truth, called, average="macro"),
        **{f"sensitivity_{name}": recall[k] for k, name in enumerate(films.classes)},
        **{f"precision_{name}": precision[k] for k, name in enumerate(films.classes)},
    }
    assert found == pytest.approx(expected)
    matrix = films.confusion(np.ones((1, 200)))[0]
    np.testing.assert_array_equal(matrix, peer.confusion_matrix(truth, called))
    assert films.base("sensitivity_normal").sum() == (truth == 1).sum()
    assert films.base("precision_normal").sum() == (called == 1).sum()


def test_a_head_is_ranked_by_its_own_answer() -> None:
    ranked = Ranked(np.array([1.0, 2.0, 3.0]), np.array([False, True, False]), Units.alone(3))

    assert ranked.figures(np.ones((1, 3)))["roc_auc"][0] == 0.5


def test_bins_of_reliability_hold_all_films_in_equal_numbers(scored: Scored) -> None:
    generator = np.random.default_rng(5)
    bins = reliability(Scored(generator.random(300), scored.is_covid_N, scored.units, 0.5))

    assert [b["films"] for b in bins] == [20] * 15
    assert sum(b["covid"] for b in bins) == scored.is_covid_N.sum()
    assert all(b["low"] <= b["probability"] <= b["high"] for b in bins)


def test_films_of_equal_score_share_a_bin_of_reliability() -> None:
    """Sorted by label, films of one score would fall into bins of one class each."""
    truth = np.arange(60) < 30

    (alone,) = reliability(Scored(np.full(60, 0.3), truth, Units.alone(60), 0.5))
    assert alone == {"probability": 0.3, "share": 0.5, "films": 60, "covid": 30, "low": 0.3, "high": 0.3}

    p = np.repeat([0.1, 0.2, 0.9], [1, 58, 1])
    bins = reliability(Scored(p, truth, Units.alone(60), 0.5))
    assert [(b["probability"], b["films"], b["covid"]) for b in bins] == [
        (0.1, 1, 1), (pytest.approx(0.2), 58, 29), (0.9, 1, 0)
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60))
def test_the_calibration_error_is_that_of_the_bins_of_reliability(films: list[tuple[int, bool]]) -> None:
    """The plot and the figure speak of the same bins, whatever films share a score and however they lie."""
    truth = np.array([film[1] for film in films])
    scored = Scored(np.array([film[0] / 12 for film in films]), truth, Units.alone(len(films)), 0.5)
    bins = reliability(scored)

    (found,) = scored.figures(np.ones((1, len(films))))["ece"]

    by_hand = sum(b["films"] * abs(b["probability"] - b["share"]) for b in bins) / len(films)
    assert sum(b["films"] for b in bins) == len(films)
    assert all(first["high"] < second["low"] for first, second in itertools.pairwise(bins))
    if truth.any() and not truth.all():
        assert found == pytest.approx(by_hand)


def test_the_error_by_chance_keeps_equal_scores_together_as_the_error_does() -> None:
    """60 films of one score are one bin, whose share of COVID-19 misses a half by 0.05, not by that of 4."""
    expected = sum(binom.pmf(k, 60, 0.5) * abs(k / 60 - 0.5) for k in range(61))

    assert error_by_chance(np.full(60, 0.5)) == pytest.approx(expected, rel=0.15)


def test_net_benefit_by_hand() -> None:
    truth = np.array([True, True, False, False, False])
    films = Scored(np.array([0.9, 0.3, 0.6, 0.2, 0.1]), truth, Units.alone(5), 0.5)

    found = net_benefit(films, np.array([0.2, 0.5]))

    # At 0.2 four films are treated, two of them in vain, at a price of 0.25 each; at 0.5 two, one in vain.
    assert found["model"] == pytest.approx([2 / 5 - 2 / 5 * 0.25, 1 / 5 - 1 / 5])
    assert found["treat all"] == pytest.approx([2 / 5 - 3 / 5 * 0.25, 2 / 5 - 3 / 5])
    assert found["treat none"].tolist() == [0, 0]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_an_area_is_that_of_scikit_learn_or_not_defined(films: list[tuple[int, bool]]) -> None:
    score = np.array([film[0] for film in films], float)
    truth = np.array([film[1] for film in films])

    (found,) = weighted_auc(score, truth, np.ones((1, len(films))))

    if truth.all() or not truth.any():
        assert np.isnan(found)
    else:
        assert found == pytest.approx(peer.roc_auc_score(truth, score))
