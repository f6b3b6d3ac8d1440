"""The band promises an error per class, keeps it for films of the same kind, and costs what it may."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.conformal import Band, affordable_band, band, lowest_like
from model.probability import sigmoid

Float64 = NDArray[np.float64]


def scores(generator: np.random.Generator, films: int, centre: float) -> Float64:
    return sigmoid(generator.normal(centre, 1.0, films))


def misjudged(covid: Float64, rest: Float64, found: Band) -> tuple[float, float]:
    return float((covid < found.low).mean()), float((rest >= found.high).mean())


def abstained(probability: Float64, found: Band) -> float:
    return float(((probability >= found.low) & (probability < found.high)).mean())


def test_the_bound_is_the_kth_smallest_by_hand() -> None:
    ten = np.arange(10) / 10

    # floor(0.2 * 11) = 2, floor(0.1 * 11) = 1, floor(0.05 * 11) = 0.
    assert lowest_like(ten, 0.2) == 0.1
    assert lowest_like(ten, 0.1) == 0.0
    assert lowest_like(ten, 0.05) == -np.inf


@pytest.mark.parametrize(("alpha_covid", "alpha_rest"), [(0.05, 0.2), (0.1, 0.1), (0.3, 0.02)])
@pytest.mark.parametrize("distance", [0.7, 6.0])
def test_each_class_is_misjudged_at_most_as_often_as_promised(
    alpha_covid: float, alpha_rest: float, distance: float
) -> None:
    """Over many small calibration sets: the promise is of the average, and tight where films overlap."""
    generator = np.random.default_rng(0)
    new = scores(generator, 4000, distance), scores(generator, 4000, -distance)
    errors = []
    for _ in range(400):
        known = scores(generator, 60, distance), scores(generator, 45, -distance)
        errors.append(misjudged(*new, band(*known, alpha_covid, alpha_rest)))
    covid_error, rest_error = np.mean(errors, axis=0)

    # 400 sets of 45 films know a share to about 0.004.
    assert covid_error <= alpha_covid + 0.008
    assert rest_error <= alpha_rest + 0.008
    if distance < 1:
        assert covid_error >= np.floor(alpha_covid * 61) / 61 - 0.012
        assert rest_error >= np.floor(alpha_rest * 46) / 46 - 0.012


def test_the_promise_holds_whatever_the_share_of_covid_is() -> None:
    generator = np.random.default_rng(1)
    found = band(scores(generator, 5000, 1), scores(generator, 500, -1), 0.1, 0.1)

    errors = misjudged(scores(generator, 300, 1), scores(generator, 30_000, -1), found)

    assert errors == pytest.approx((0.1, 0.1), abs=0.04)


def test_films_like_both_classes_are_left_open() -> None:
    covid, rest = np.linspace(0.3, 1, 99), np.linspace(0, 0.7, 99)

    found = band(covid, rest, 0.1, 0.1)

    assert found.low == pytest.approx(covid[9])
    assert found.high == pytest.approx(rest[89])
    # The bounds themselves are like both.
    assert abstained(np.array([covid[9], rest[89]]), found) == 1


def test_films_like_neither_class_are_left_open() -> None:
    covid, rest = np.linspace(0.8, 1, 99), np.linspace(0, 0.2, 99)

    found = band(covid, rest, 0.1, 0.1)

    assert (found.low, found.high) == (pytest.approx(rest[89]), pytest.approx(covid[9]))
    assert abstained(np.array([0.5]), found) == 1
    # Here the bounds are like one class each.
    assert abstained(np.array([rest[89], covid[9]]), found) == 0


def test_with_too_few_films_for_the_promise_everything_is_left_open() -> None:
    found = band(np.array([0.9, 0.95]), np.array([0.1, 0.2]), 0.1, 0.1)

    assert (found.low, found.high) == (0.0, 1.0)


def test_wished_alphas_stand_where_they_leave_few_enough_films_open() -> None:
    generator = np.random.default_rng(2)
    covid, rest = scores(generator, 1000, 2), scores(generator, 1000, -2)

    assert affordable_band(covid, rest, (0.03, 0.05), 0.2) == band(covid, rest, 0.03, 0.05)


def test_otherwise_the_smallest_alphas_that_do_are_taken() -> None:
    generator = np.random.default_rng(3)
    covid, rest = scores(generator, 2000, 0.6), scores(generator, 2000, -0.6)

    found = affordable_band(covid, rest, (0.05, 0.05), 0.2)

    assert 0.17 < max(abstained(covid, found), abstained(rest, found)) <= 0.2
    assert found.alpha_covid == found.alpha_rest > 0.1
    errors = misjudged(scores(generator, 20_000, 0.6), scores(generator, 20_000, -0.6), found)
    assert errors == pytest.approx((found.alpha_covid, found.alpha_rest), abs=0.04)


def test_scores_that_are_all_the_same_are_left_open() -> None:
    same = np.full(50, 0.4)

    assert abstained(same, affordable_band(same, same, (0.1, 0.1), 0.2)) == 1


share = st.floats(0.001, 0.999)


@given(st.lists(share, min_size=1, max_size=30), st.lists(share, min_size=1, max_size=30), share, share)
def test_a_band_is_a_band(covid: list[float], rest: list[float], a: float, b: float) -> None:
    found = band(np.array(covid), np.array(rest), a, b)

    assert 0 <= found.low <= found.high <= 1
    # Counted over the calibration films themselves the promise is sure.
    missed, alarmed = misjudged(np.array(covid), np.array(rest), found)
    assert missed * len(covid) <= a * (len(covid) + 1) + 1e-6
    assert alarmed * len(rest) <= b * (len(rest) + 1) + 1e-6
