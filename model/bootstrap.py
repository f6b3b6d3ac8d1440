"""An interval for every figure: a bootstrap that draws patients, not films."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.stats import beta

from model.metrics import Bool, Figures, Float64, Units

RESAMPLES = 1000
NUMBERS = 400_000
"""Weights at a time, resamples times films: bounds the memory."""
RATES = {
    "accuracy", "sensitivity", "specificity", "precision", "npv", "abstain_rate", "error_among_judged",
    "missed_rate", "false_alarm_rate",
}  # fmt: skip
"""Figures that are a share of films, so that an exact interval is known where events are rare."""
RARE = 5
"""Below so many patients with an event, or without one, resamples tell too little of a share."""


@dataclass(frozen=True)
class Figure:
    """One figure and what it needs to be believed."""

    value: float | None
    """None where it is not defined; `method` then says why."""
    low: float | None
    """Lower end of the 95 % interval."""
    high: float | None
    """Upper end."""
    n: int
    """Films that the figure rests on: those in its denominator."""
    set: str
    """Which films."""
    method: str
    """How the interval was obtained, and what is wrong with it."""

    def __str__(self) -> str:
        """Return value and interval with three decimals."""
        if self.value is None:
            return "not defined"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        # A dash before a minus is misread.
        to = " to " if self.low < 0 else "-"
        return f"{self.value:.3f} ({self.low:.3f}{to}{self.high:.3f})"

    def to_json(self) -> dict[str, Any]:
        """Return plain values under the names of the fields."""
        return dataclasses.asdict(self)


class Films(Protocol):
    """Films of one set whose figures can be computed for many weightings at once."""

    @property
    def units(self) -> Units:
        """The patients."""

    def figures(self, weight_BN: Float64) -> Figures:
        """Figures of shape B for weights of the films; NaN where not defined."""

    def base(self, name: str) -> Bool:
        """Films in the denominator of a figure."""

    def undefined(self, name: str) -> str:
        """Why a figure is not defined."""


def resample(
    units: Units, figures_of: Callable[[Float64], Figures], seed: int = 0
) -> tuple[dict[str, float], Figures]:
    """Return each figure of the whole set, and of resamples in which units are drawn with replacement.

    Parameters
    ----------
    units
        The patients; all films of one are drawn together.
    figures_of
        Weights ``weight_BN`` of the films to figures of shape B; whole films weigh 1.
    seed
        Seed of the draws.
    """
    _, unit_N = np.unique(units.number_N, return_inverse=True)
    count = int(unit_N.max()) + 1
    whole = figures_of(np.ones((1, len(unit_N))))
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[Float64]] = {name: [] for name in whole}
    chunk = max(1, NUMBERS // len(unit_N))
    for start in range(0, RESAMPLES, chunk):
        size = min(chunk, RESAMPLES - start)
        weight_BN = generator.multinomial(count, np.full(count, 1 / count), size)[:, unit_N]
        for name, values_B in figures_of(weight_BN.astype(float)).items():
            drawn[name].append(values_B)
    return (
        {name: float(value[0]) for name, value in whole.items()},
        {name: np.concatenate(parts) for name, parts in drawn.items()},
    )


def intervals(films: Films, set_name: str, seed: int = 0) -> dict[str, Figure]:
    """Return each figure of the films with its 95 % interval (percentile bootstrap).

    Of a share whose events are rare (see `exact_of_rare`) resamples say too little, and of one without
    events nothing: its interval is the exact binomial one. The calibration error is larger
    in a resample than in the set it is drawn from, for drawing adds noise: its interval is moved back by
    the median excess.
    """
    whole, drawn = resample(films.units, films.figures, seed)
    return {name: _figure(name, value, drawn[name], films, set_name) for name, value in whole.items()}


def _figure(name: str, value: float, drawn_B: Float64, films: Films, set_name: str) -> Figure:
    base_N = films.base(name)
    n = int(base_N.sum())
    if math.isnan(value):
        return Figure(None, None, None, n, set_name, f"not defined: {films.undefined(name)}")
    units = films.units.count(base_N)
    if units < 2:
        return Figure(rounded(value), None, None, n, set_name, "no interval: the films are of one patient")
    method = described(films.units)
    low, high = percentiles(name, value, drawn_B)
    if name == "ece":
        method += ", moved by the median excess of the resamples"
    if is_rate(name) and (exact := exact_of_rare(value, films.units, units)):
        low, high, method = exact
    if undefined := int(np.isnan(drawn_B).sum()):
        method += f"; not defined in {undefined} resamples"
    return Figure(rounded(value), rounded(low), rounded(high), n, set_name, method)


def is_rate(name: str) -> bool:
    """Return whether a figure is a share of films, such as the sensitivity of one of several classes."""
    return name in RATES or name.startswith(("sensitivity_", "precision_"))


def exact_of_rare(rate: float, units: Units, count: int) -> tuple[float, float, str] | None:
    """Return the ends of the exact binomial 95 % interval of a share and the method in words.

    Clopper and Pearson (1934), for shares of films of patients by Korn and Graubard (1998, Survey Methodology
    24:193): as many draws as there are patients, and the events may be no whole number.

    Parameters
    ----------
    rate
        The share.
    units
        The patients of the whole set.
    count
        How many of them the share is of.

    Returns
    -------
    tuple
        None where there are `RARE` events or more, and as many films without one.
    """
    if min(rate, 1 - rate) * count >= RARE:
        return None
    events = rate * count
    low = beta.ppf(0.025, events, count - events + 1) if events > 0 else 0.0
    high = beta.ppf(0.975, events + 1, count - events) if events < count else 1.0
    return float(low), float(high), f"exact binomial, 95 %, of {counted(units, count)}"


def percentiles(name: str, value: float, drawn_B: Float64) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of the resamples in which the figure is defined.

    Those of the calibration error are moved back by the median excess over the value.
    """
    defined_B = drawn_B[~np.isnan(drawn_B)]
    if not len(defined_B):
        return math.nan, math.nan
    low, high = np.percentile(defined_B, [2.5, 97.5])
    if name == "ece":
        excess = float(np.median(defined_B)) - value
        low, high = max(0.0, low - excess), high - excess
    return float(low), float(high)


def described(units: Units) -> str:
    """Return the method in one line; it says where patients are not known."""
    count = len(np.unique(units.number_N))
    return f"percentile bootstrap, 95 %, {RESAMPLES} resamples of {counted(units, count)}"


def counted(units: Units, count: int) -> str:
    """Return so many of these units in words; it says where films name no patient."""
    films, named = len(units.named_N), int(units.named_N.sum())
    if named == films:
        return f"{count} patients"
    kind = "images" if len(np.unique(units.number_N)) == films else "images and groups of near-duplicates"
    if named == 0:
        return f"{count} {kind}: per image, too narrow"
    return f"{count} patients and {kind}: {films - named} of {films} films name no patient, too narrow"


def rounded(value: float) -> float | None:
    """Return the value with five decimals, None for NaN: JSON knows no NaN."""
    return None if math.isnan(value) else round(float(value), 5)


def to_json(figures: Mapping[str, Figure]) -> dict[str, dict[str, Any]]:
    """Return figures as plain values, keyed by name."""
    return {name: figure.to_json() for name, figure in figures.items()}
