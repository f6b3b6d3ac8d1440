"""``python -m model.compare A.csv B.csv``: two models on the same films, by a bootstrap that pairs them."""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata

from model.bootstrap import RESAMPLES, Figure, described, resample, rounded
from model.command_edge import one_line_errors
from model.metrics import Bool, Float64, Scored
from model.predictions import Predictions, read_predictions


@dataclass(frozen=True)
class Comparison:
    """One figure of two models on the same films."""

    first: float | None
    """Value of the first model."""
    second: float | None
    """Value of the second model."""
    difference: Figure
    """First minus second, with its interval."""
    p: float | None
    """Twice the share of resamples on the rarer side of no difference."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "first": self.first, "second": self.second, "difference": self.difference.to_json(), "p": self.p
        }  # fmt: skip


@dataclass(frozen=True)
class DeLong:
    """Two areas under the ROC curve on the same films, compared by their covariance."""

    first: float
    """Area of the first model."""
    second: float
    """Area of the second model."""
    low: float
    """Lower end of the 95 % interval of first minus second."""
    high: float
    """Upper end."""
    z: float
    """Difference in standard errors."""
    p: float
    """Two-sided p-value."""


def compare(first: Scored, second: Scored, set_name: str) -> dict[str, Comparison]:
    """Return every figure of both models with the interval of the difference.

    Each resample draws patients and scores both models on them, so that films which are hard for both do
    not widen the interval.

    Parameters
    ----------
    first, second
        The same films in the same order, with the scores of two models.
    set_name
        Name of the films.

    Raises
    ------
    ValueError
        If the films are not the same.
    """
    same_truth = np.array_equal(first.is_covid_N, second.is_covid_N)
    if not same_truth or not np.array_equal(first.units.number_N, second.units.number_N):
        raise ValueError("two models are compared on the same films of the same patients")

    def both(weight_BN: Float64) -> dict[str, Float64]:
        ours, theirs = first.figures(weight_BN), second.figures(weight_BN)
        apart = {f"first {name}": value for name, value in ours.items()}
        apart |= {f"second {name}": value for name, value in theirs.items()}
        return apart | {name: ours[name] - theirs[name] for name in ours}

    whole, drawn = resample(first.units, both)
    method = f"paired {described(first.units)}"
    names = [name for name in whole if f"first {name}" in whole]
    return {
        name: _comparison(
            (whole[f"first {name}"], whole[f"second {name}"]), drawn[name],
            Figure(None, None, None, len(first.is_covid_N), set_name, method),
        )
        for name in names
    }  # fmt: skip


def _comparison(values: tuple[float, float], drawn_B: Float64, frame: Figure) -> Comparison:
    first, second = values
    defined_B = drawn_B[~np.isnan(drawn_B)]
    if math.isnan(first - second) or not len(defined_B):
        missing = Figure(None, None, None, frame.n, frame.set, "not defined for both models")
        return Comparison(rounded(first), rounded(second), missing, None)
    low, high = np.percentile(defined_B, [2.5, 97.5])
    rarer = min((defined_B <= 0).mean(), (defined_B >= 0).mean())
    difference = Figure(
        rounded(first - second), rounded(low), rounded(high), frame.n, frame.set, frame.method
    )
    return Comparison(
        rounded(first), rounded(second), difference, float(min(1, max(2 * rarer, 2 / RESAMPLES)))
    )


def delong(first_N: Float64, second_N: Float64, is_covid_N: Bool) -> DeLong:
    """Compare two areas under the ROC curve (DeLong, DeLong and Clarke-Pearson 1988).

    The films must be independent of each other: one of each patient. Placements are computed from midranks
    (Sun and Xu 2014).

    Raises
    ------
    ValueError
        If a class has fewer than two films.
    """
    covid, rest = int(is_covid_N.sum()), int((~is_covid_N).sum())
    if min(covid, rest) < 2:
        raise ValueError(f"DeLong needs two films of either class, came {covid} and {rest}")
    areas, of_covid, of_rest = [], [], []
    for score_N in (first_N, second_N):
        rank_N = rankdata(score_N)
        # The share of the other class that a film is placed above, ties counting half.
        covid_placed = (rank_N[is_covid_N] - rankdata(score_N[is_covid_N])) / rest
        rest_placed = 1 - (rank_N[~is_covid_N] - rankdata(score_N[~is_covid_N])) / covid
        areas.append(float(covid_placed.mean()))
        of_covid.append(covid_placed)
        of_rest.append(rest_placed)
    covariance = np.cov(of_covid) / covid + np.cov(of_rest) / rest
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference, error = areas[0] - areas[1], math.sqrt(max(variance, 0.0))
    if error == 0:
        z = 0.0 if difference == 0 else math.copysign(math.inf, difference)
    else:
        z = difference / error
    reach = float(norm.ppf(0.975)) * error
    return DeLong(areas[0], areas[1], difference - reach, difference + reach, z, float(2 * norm.sf(abs(z))))


def one_film_each(scored: Scored) -> bool:
    """Return whether every film names its patient and no patient has two: what DeLong's test asks."""
    everyone = np.ones(len(scored.is_covid_N), bool)
    return bool(scored.units.named_N.all()) and scored.units.count(everyone) == len(everyone)


def pair(first: Predictions, second: Predictions) -> tuple[Predictions, Predictions]:
    """Return the predictions of both models for the films that both judged, in the same order.

    Raises
    ------
    ValueError
        If they share no film, disagree about a label, or part the films into other patients.
    """
    known = set(second.path)
    shared = [path for path in first.path if path in known]
    if not shared:
        raise ValueError("the two files of predictions share no film")
    ours, theirs = first.ordered(shared), second.ordered(shared)
    if list(ours.label) != list(theirs.label):
        raise ValueError("the two files of predictions disagree about the label of a film")
    # Numbers may differ between two manifests; who belongs together may not.
    patients = np.stack([ours.units.number_N, theirs.units.number_N])
    kinds = {len(np.unique(patients, axis=1).T), *(len(np.unique(row)) for row in patients)}
    if len(kinds) > 1:
        raise ValueError("the two files of predictions part the films into other patients or groups")
    return ours, theirs


def compare_predictions(first: Predictions, second: Predictions, covid_label: str) -> dict[str, Any]:
    """Return the comparison of two models on the films that both judged, as plain values."""
    ours, theirs = pair(first, second)
    name = f"COVID-19 against the rest, {len(ours.path)} films that both judged"
    a, b = ours.scored(covid_label), theirs.scored(covid_label)
    b = Scored(b.probability_N, b.is_covid_N, a.units, b.threshold)
    figures = {key: comparison.to_json() for key, comparison in compare(a, b, name).items()}
    test = None
    classes = min(int(a.is_covid_N.sum()), int((~a.is_covid_N).sum()))
    if one_film_each(a) and classes >= 2:
        test = vars(delong(a.probability_N, b.probability_N, a.is_covid_N))
    return {"films": len(ours.path), "figures": figures, "delong": test}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.compare", description=__doc__)
    parser.add_argument("first", type=Path, metavar="A.csv", help="predictions.csv of the first model")
    parser.add_argument(
        "second", type=Path, metavar="B.csv", help="predictions.csv of the second, same manifest"
    )
    parser.add_argument("--covid-label", default="covid", help="label that counts as COVID-19")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the comparison as JSON")
    options = parser.parse_args(arguments)
    with one_line_errors(parser):
        read = (read_predictions(options.first), read_predictions(options.second))
        if options.covid_label not in (there := sorted(set(read[0].label))):
            raise ValueError(f"no film has the label {options.covid_label}, expected one of {there}")
        found = compare_predictions(*read, options.covid_label)
        if options.out:
            options.out.write_text(json.dumps(found, indent=1) + "\n")
    print_comparison(found)
    return 0


def shown(value: float | None) -> str:
    """Return a figure with the decimals of its difference."""
    return "not defined" if value is None else f"{value:.3f}"


def print_comparison(found: dict[str, Any]) -> None:
    """Print a line per figure, and DeLong's test where it may be used."""
    for name, values in found["figures"].items():
        figure = Figure(**values["difference"])
        print(f"{name:18} {shown(values['first'])} - {shown(values['second'])} = {figure}, p {values['p']}")
    method = next(iter(found["figures"].values()))["difference"]["method"]
    print(f"{found['films']} films; {method}")
    if found["delong"] is None:
        print("DeLong's test is left out: it asks for one film of each patient, and patients that are named")
    else:
        print(f"DeLong: z {found['delong']['z']:.3f}, p {found['delong']['p']:.3g}")
    print("For research and teaching only, not for diagnosis.")


if __name__ == "__main__":
    raise SystemExit(main())
