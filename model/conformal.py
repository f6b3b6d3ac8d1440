"""The band in which the model abstains, by class-conditional split conformal prediction.

For each class the calibration films of that class give the probability beyond which a film is stranger to
the class than a share alpha of its own films (Vovk 2012, "Conditional validity of inductive conformal
predictors"; Angelopoulos and Bates 2021, arXiv:2107.07511, section 4.2). A film belongs to the classes that
it is no stranger to. One class: that is the decision. Both or neither: the model abstains. For new films
drawn like the calibration films, at most a share alpha of each class gets the other class's decision,
whatever the mixture of classes. Of films from a new hospital nothing is guaranteed.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

STEPS = 1000
"""Steps from the wished alphas to 1 at which a band is tried."""


@dataclass(frozen=True)
class Band:
    """Below `low` negative, from `high` on positive, between them indeterminate."""

    low: float
    """A film below this is strange to COVID-19 and not to the rest."""
    high: float
    """A film from this on is strange to the rest and not to COVID-19."""
    alpha_covid: float
    """Share of COVID-19 films that may be called negative."""
    alpha_rest: float
    """Share of the other films that may be called positive."""


def lowest_like(score_N: Float64, alpha: float) -> float:
    """Return the smallest score that is still like those of `score_N`, at most a share `alpha` being less.

    `score_N` ascends. The answer is the k-th smallest of n scores with ``k = floor(alpha * (n + 1))``: a
    further score of the same distribution falls below it with a probability of at most ``k / (n + 1)``.
    With too few scores for `alpha` it is minus infinity: everything is like them.
    """
    # 0.3 * 10 is 3.0000000000000004 and 0.29 * 100 is 28.999999999999996: neither may move k.
    k = math.floor(alpha * (len(score_N) + 1) + 1e-9)
    return float(score_N[k - 1]) if k >= 1 else -math.inf


def band(covid_N: Float64, rest_N: Float64, alpha_covid: float, alpha_rest: float) -> Band:
    """Return the band from the probabilities of calibration films of both classes.

    A film is like COVID-19 from ``a = lowest_like(covid)`` on, and like the rest up to
    ``b = highest_like(rest)``. If ``a <= b`` the films between are like both. If ``b < a``, the classes lie
    further apart than the alphas ask, and the films between are like neither. Either way they lie between
    the two bounds, so that the lower bound is the band's `low` and the upper one its `high`.
    """
    return _band_of_sorted(np.sort(covid_N), np.sort(rest_N), alpha_covid, alpha_rest)


def _band_of_sorted(covid_N: Float64, rest_N: Float64, alpha_covid: float, alpha_rest: float) -> Band:
    like_covid = lowest_like(covid_N, alpha_covid)
    # The next number after b: the first film that is no longer like the rest.
    unlike_rest = float(np.nextafter(-lowest_like(-rest_N[::-1], alpha_rest), math.inf))
    low, high = sorted((like_covid, unlike_rest))
    return Band(max(low, 0.0), min(high, 1.0), alpha_covid, alpha_rest)


def _abstained_of_sorted(probability_N: Float64, found: Band) -> float:
    first, after = np.searchsorted(probability_N, [found.low, found.high])
    return float(after - first) / len(probability_N)


def affordable_band(
    covid_N: Float64, rest_N: Float64, wished: tuple[float, float], most_abstained: float
) -> Band:
    """Return the band of the smallest alphas that leave at most `most_abstained` of either class open.

    Parameters
    ----------
    covid_N, rest_N
        Probabilities of the calibration films of both classes.
    wished
        The alphas of COVID-19 and of the rest that are used if they leave few enough films open; otherwise
        both rise towards 1 by equal parts of what they lack of it.
    most_abstained
        The limit; it holds for each class, hence for every mixture of them.

    Notes
    -----
    Raised alphas were chosen on the films that then give the bounds, so that their promise holds only about:
    by the Dvoretzky-Kiefer-Wolfowitz inequality within ``sqrt(log(40) / (2 n))`` for n films of a class, 95
    times in 100. The realised error on other films is what counts.
    """
    covid_N, rest_N = np.sort(covid_N), np.sort(rest_N)
    for step in range(STEPS):
        covid, rest = (alpha + (1 - alpha) * step / STEPS for alpha in wished)
        found = _band_of_sorted(covid_N, rest_N, covid, rest)
        if max(_abstained_of_sorted(scores_N, found) for scores_N in (covid_N, rest_N)) <= most_abstained:
            return found
    # Scores so alike that every band leaves too many films open: then they are left open.
    return _band_of_sorted(covid_N, rest_N, *wished)
