"""An interval covers the truth as often as it says, draws patients, and says where it cannot know them."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from model.bootstrap import Figure, described, intervals, resample, rounded, to_json
from model.metrics import Judged, Ranked, Scored, Units


def named(numbers: np.ndarray) -> Units:
    return Units(numbers, np.ones(len(numbers), bool))


@pytest.fixture
def scored() -> Scored:
    generator = np.random.default_rng(0)
    truth = generator.random(300) < 0.4
    score = (0.3 * truth + 0.7 * generator.random(300)).round(2)
    return Scored(score, truth, named(np.arange(300) // 3), 0.5)


def test_a_figure_names_its_set_number_and_method(scored: Scored) -> None:
    found = intervals(scored, "phantoms")

    for figure in found.values():
        assert figure.value is not None
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.value <= figure.high
        assert figure.set == "phantoms"
        assert "100 patients" in figure.method
        assert "narrow" not in figure.method
    assert found["roc_auc"].n == 300
    assert found["sensitivity"].n == scored.is_covid_N.sum()
    assert set(to_json(found)["roc_auc"]) == {"value", "low", "high", "n", "set", "method"}


def test_films_without_patients_are_marked_as_too_narrow(scored: Scored) -> None:
    alone = replace(scored, units=Units.alone(300))
    some = replace(scored, units=Units(np.arange(300), np.arange(300) < 200))

    assert intervals(alone, "x")["roc_auc"].method.endswith("300 images: per image, too narrow")
    assert "100 of 300 films name no patient, too narrow" in intervals(some, "x")["roc_auc"].method
    assert "groups of near-duplicates: per image, too narrow" in described(
        Units(np.arange(300) // 2, np.zeros(300, bool))
    )


def test_repeated_films_of_a_patient_do_not_narrow_the_interval(scored: Scored) -> None:
    apart = replace(scored, units=named(np.arange(300)))
    copies = Scored(
        np.tile(scored.probability_N, 4),
        np.tile(scored.is_covid_N, 4),
        named(np.tile(np.arange(300), 4)),
        0.5,
    )

    def width(films: Scored) -> float:
        found = intervals(films, "phantoms")["roc_auc"]
        assert found.low is not None
        assert found.high is not None
        return found.high - found.low

    assert width(copies) == pytest.approx(width(apart), rel=0.02)


def test_films_of_a_patient_are_drawn_together() -> None:
    seen: list[np.ndarray] = []

    def keep(weight_BN: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(weight_BN)
        return {"films": weight_BN.sum(axis=1)}

    resample(named(np.array([7, 3, 7, 7, 5])), keep)

    drawn = np.concatenate(seen[1:])
    assert drawn.shape == (1000, 5)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 2])
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 3])
    # Three patients are drawn each time, and not always the same.
    assert (drawn[:, [0, 1, 4]].sum(axis=1) == 3).all()
    assert drawn.std(axis=0).min() > 0.5


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = np.arange(120) % 2 == 0
    covered = 0
    for seed in range(40):
        score = np.random.default_rng(seed).standard_normal(120) + truth
        found = intervals(Ranked(score, truth, named(np.arange(120))), "x")["roc_auc"]
        # Two normal distributions one deviation apart have AUC = Phi(1 / sqrt 2) = 0.760.
        covered += found.low <= 0.7602 <= found.high  # type: ignore[operator]

    assert 33 <= covered <= 40


def test_the_noise_that_drawing_adds_to_the_calibration_error_is_taken_off() -> None:
    generator = np.random.default_rng(1)
    p = generator.random(600)
    films = Scored(p, generator.random(600) < p, named(np.arange(600)), 0.5)

    _, drawn = resample(films.units, films.figures)
    found = intervals(films, "x")["ece"]

    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    excess = np.median(drawn["ece"]) - found.value
    assert excess > 0.1 * found.value
    assert found.low < found.value < found.high
    assert found.high == pytest.approx(np.percentile(drawn["ece"], 97.5) - excess, abs=1e-5)
    assert "median excess" in found.method


def test_a_share_that_no_resample_changes_gets_the_exact_interval() -> None:
    judged = Judged(np.ones(40, np.int64), np.ones(40, bool), named(np.arange(40) // 2))

    found = intervals(judged, "x")["missed_rate"]

    # Clopper and Pearson: of 20 patients none was missed; 1 - 0.025 ** (1 / 20) = 0.1684.
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(0.16843, abs=1e-5)
    assert "exact binomial" in found.method


def test_one_event_more_never_narrows_the_interval_of_a_share() -> None:
    unit = np.arange(240) // 3

    def high(missed: int) -> float:
        decision = np.where(np.arange(240) % 30 < (np.arange(240) // 30 < missed), -1, 1)
        assert (decision < 0).sum() == missed
        found = intervals(Judged(decision, np.ones(240, bool), named(unit)), "x")["missed_rate"]
        assert found.high is not None
        return found.high

    ends = [high(missed) for missed in range(6)]
    assert ends == sorted(ends)
    # Of 80 patients a third of one: between Clopper and Pearson's ends for none and for one.
    assert 0.0451 < ends[1] < 0.0677


def test_an_exact_interval_says_where_patients_are_not_known() -> None:
    found = intervals(Judged(np.ones(40, np.int64), np.ones(40, bool), Units.alone(40)), "x")["missed_rate"]

    assert found.method == "exact binomial, 95 %, of 40 images: per image, too narrow"


def test_one_patient_gives_a_value_and_no_interval() -> None:
    judged = Judged(np.array([1, -1, 1]), np.ones(3, bool), named(np.zeros(3, np.int64)))

    found = intervals(judged, "x")["missed_rate"]

    assert found.value == pytest.approx(1 / 3, abs=1e-5)
    assert (found.low, found.high) == (None, None)
    assert "one patient" in found.method
    assert str(found) == "0.333"


def test_what_is_not_defined_is_null_with_its_reason(scored: Scored) -> None:
    found = to_json(intervals(scored.subset(~scored.is_covid_N), "rest only"))

    assert found["roc_auc"]["value"] is None
    assert found["roc_auc"]["method"] == "not defined: no film with COVID-19"
    assert found["specificity"]["value"] is not None
    json.dumps(found, allow_nan=False)


def test_resamples_without_the_figure_are_counted(scored: Scored) -> None:
    few = scored.subset(np.flatnonzero(scored.is_covid_N)[0] >= np.arange(300))

    assert few.is_covid_N.sum() == 1
    assert (
        "not defined in"
        in intervals(replace(few, units=named(np.arange(len(few.is_covid_N)))), "x")["roc_auc"].method
    )


def test_the_same_seed_gives_the_same_interval(scored: Scored) -> None:
    assert intervals(scored, "x", seed=3) == intervals(scored, "x", seed=3)
    assert intervals(scored, "x", seed=3) != intervals(scored, "x", seed=4)


def test_a_thousand_resamples_of_seven_thousand_films_take_seconds() -> None:
    generator = np.random.default_rng(0)
    p = generator.random(7000)
    films = Scored(p, generator.random(7000) < p, named(np.arange(7000) // 2), 0.5)

    started = time.process_time()
    intervals(films, "x")

    assert time.process_time() - started < 15


def test_a_figure_is_written_with_its_interval() -> None:
    assert str(Figure(0.8123, 0.8, 0.82, 5, "x", "y")) == "0.812 (0.800-0.820)"
    assert str(Figure(-0.1, -0.2, -0.05, 5, "x", "y")) == "-0.100 (-0.200 to -0.050)"
    assert str(Figure(None, None, None, 0, "x", "y")) == "not defined"
    assert rounded(float("nan")) is None
