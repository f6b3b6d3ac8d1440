"""Figures of several models are averaged, never computed from scores thrown together."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from model.bootstrap import intervals
from model.fold_figures import Fold, summarise_folds
from model.metrics import Called, Scored, Units


def fold(number: int, films: int = 80, shift: float = 0.0, covid: bool = True) -> Fold:
    generator = np.random.default_rng(number)
    truth = (np.arange(films) % 2 == 0) & covid
    p = (0.3 * truth + 0.5 * generator.random(films) + shift).clip(0, 1)
    units = Units(1000 * number + np.arange(films), np.ones(films, bool))
    return Fold(f"fold {number}", Scored(p, truth, units, 0.4 + shift), f"validation part of fold {number}")


def test_the_mean_is_that_of_the_folds_and_not_of_pooled_scores() -> None:
    """One model says everything 0.2 higher than the other: pooled, its others pass the other's COVID-19."""
    folds = [fold(1), fold(2, shift=0.2)]

    found = summarise_folds(folds, "two models")

    areas = [roc_auc_score(f.films.is_covid_N, f.films.probability_N) for f in folds]  # type: ignore[attr-defined]
    pooled = roc_auc_score(
        np.concatenate([f.films.is_covid_N for f in folds]),  # type: ignore[attr-defined]
        np.concatenate([f.films.probability_N for f in folds]),  # type: ignore[attr-defined]
    )
    mean = found.mean["roc_auc"]
    assert mean.value == pytest.approx(np.mean(areas), abs=1e-5)
    assert abs(pooled - np.mean(areas)) > 0.03
    assert [found.folds[f.name]["roc_auc"].value for f in folds] == pytest.approx(areas, abs=1e-5)
    assert mean.n == 160
    assert "never pooled" in mean.method
    assert "fold 1, fold 2" in mean.method


def test_the_mean_of_several_folds_is_known_better_than_one_of_them() -> None:
    found = summarise_folds([fold(number) for number in range(4)], "four models")

    def width(figure: object) -> float:
        return figure.high - figure.low  # type: ignore[attr-defined, no-any-return]

    widths = [width(figures["roc_auc"]) for figures in found.folds.values()]
    assert width(found.mean["roc_auc"]) == pytest.approx(float(np.mean(widths)) / 2, rel=0.25)
    # The calibration error of resamples exceeds that of the films; for the mean, too, that is taken off.
    ece = found.mean["ece"]
    assert ece.low < ece.value < ece.high  # type: ignore[operator]


def test_a_patient_with_films_in_two_folds_is_drawn_into_both() -> None:
    """The published protocol parts patients: then two folds of one patient tell little more than one."""
    same = [fold(1), Fold("again", fold(1).films, "the same")]

    found = summarise_folds(same, "x")
    alone = intervals(fold(1).films, "x")["roc_auc"]

    assert found.mean["roc_auc"].low == pytest.approx(alone.low, abs=1e-5)
    assert found.mean["roc_auc"].high == pytest.approx(alone.high, abs=1e-5)


def test_a_family_of_one_class_has_no_share_in_the_mean_of_areas() -> None:
    found = summarise_folds([fold(1), fold(2), fold(3, covid=False)], "families", "families")

    assert found.folds["fold 3"]["roc_auc"].value is None
    mean = found.mean["roc_auc"]
    assert mean.value is not None
    assert mean.method.startswith("mean over 2 families (fold 1, fold 2)")
    assert found.mean["specificity"].method.startswith("mean over 3 families")
    nothing = summarise_folds([fold(3, covid=False)], "x").mean["roc_auc"]
    assert nothing.value is None
    assert nothing.method.startswith("not defined in any")
    json.dumps(found.to_json(), allow_nan=False)


def test_each_figure_says_where_epoch_and_threshold_were_chosen() -> None:
    found = summarise_folds([fold(1), fold(2)], "x")

    assert found.folds["fold 2"]["accuracy"].method.endswith("validation part of fold 2")
    assert "chosen apart" in found.mean["accuracy"].method


def test_folds_of_three_classes_are_summarised_alike() -> None:
    folds = []
    for number in range(3):
        generator = np.random.default_rng(number)
        truth = generator.integers(0, 3, 90)
        called = np.where(generator.random(90) < 0.8, truth, 0)
        units = Units(100 * number + np.arange(90), np.ones(90, bool))
        folds.append(Fold(str(number), Called(truth, called, units, ("a", "b", "c")), "elsewhere"))

    found = summarise_folds(folds, "x")

    accuracy = [float((f.films.truth_N == f.films.called_N).mean()) for f in folds]  # type: ignore[attr-defined]
    assert found.mean["accuracy"].value == pytest.approx(np.mean(accuracy), abs=1e-5)
    assert found.mean["macro_f1"].low is not None


def test_folds_need_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="different names"):
        summarise_folds([fold(1), fold(1)], "x")
    with pytest.raises(ValueError, match="different names"):
        summarise_folds([], "x")


def test_a_mean_of_rates_that_no_resample_changes_has_the_exact_interval() -> None:
    """20 of 20 right in each of two folds is no proof of a model that is never wrong."""
    truth = np.arange(20) % 2 == 0
    folds = [
        Fold(str(n), Scored(truth * 1.0, truth, Units(20 * n + np.arange(20), np.ones(20, bool)), 0.5), "x")
        for n in range(2)
    ]

    found = summarise_folds(folds, "x").mean["accuracy"]

    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 40), abs=1e-5)
    assert "exact binomial, 95 %, of 40 patients" in found.method


def test_a_class_that_is_never_missed_has_the_exact_interval() -> None:
    truth = np.arange(30) % 3
    films = Called(truth, truth, Units(np.arange(30), np.ones(30, bool)), ("a", "b", "c"))

    for found in (
        intervals(films, "x")["sensitivity_b"],
        summarise_folds([Fold("one", films, "elsewhere")], "x").mean["sensitivity_b"],
    ):
        assert (found.value, found.high) == (1, 1)
        assert found.low == pytest.approx(0.025 ** (1 / 10), abs=1e-5)
