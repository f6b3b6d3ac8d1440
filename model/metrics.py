"""Figures of a decision, computed at once for many weightings of the films, as a bootstrap asks.

scikit-learn computes one weighting at a time, which for 1000 resamples of 7000 films takes minutes; the
tests hold every figure here to scikit-learn's. B weightings, N films, S distinct scores, C classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Figures = dict[str, Float64]

BINS = 15
"""Bins of equal mass in the expected calibration error and in the reliability plot."""


@dataclass(frozen=True)
class Units:
    """What is drawn together in a bootstrap: the films of a patient or of a group of near-duplicates."""

    number_N: NDArray[np.int64]
    """Number of the unit of each film."""
    named_N: Bool
    """Whether the film names its patient."""

    @staticmethod
    def alone(films: int) -> "Units":
        """Return a unit per film, no patient being known."""
        return Units(np.arange(films), np.zeros(films, bool))

    def subset(self, chosen_N: Bool) -> "Units":
        """Return the units of the chosen films."""
        return Units(self.number_N[chosen_N], self.named_N[chosen_N])

    def count(self, chosen_N: Bool) -> int:
        """Return how many units the chosen films are of."""
        return len(np.unique(self.number_N[chosen_N]))


@dataclass(frozen=True)
class Scored:
    """N films of one set with the probability that one model gave them."""

    probability_N: Float64
    """Calibrated probability of COVID-19."""
    is_covid_N: Bool
    """The truth."""
    units: Units
    """The patients."""
    threshold: float | Float64
    """From this probability on a film counts as positive; chosen on other films."""

    @property
    def called(self) -> Bool:
        """Return which films count as positive where nothing is left open."""
        called: Bool = self.probability_N >= self.threshold
        return called

    def subset(self, chosen_N: Bool) -> "Scored":
        """Return the chosen films."""
        threshold = self.threshold if isinstance(self.threshold, float) else self.threshold[chosen_N]
        return Scored(
            self.probability_N[chosen_N], self.is_covid_N[chosen_N], self.units.subset(chosen_N), threshold
        )

    def figures(self, weight_BN: Float64) -> Figures:
        """Return every figure, shape B, NaN where it is not defined.

        With one class only, all but sensitivity and specificity would speak of a mixture that is not there:
        NaN as well.
        """
        tn, fp, fn, tp = confusion(self.is_covid_N, self.called, weight_BN)
        values = _threshold_figures(tn, fp, fn, tp)
        scores_S, covid_BS, rest_BS = _by_score(self.probability_N, self.is_covid_N, weight_BN)
        error_N = (self.probability_N - self.is_covid_N) ** 2
        values |= {
            "roc_auc": _roc_auc(covid_BS, rest_BS),
            "pr_auc": _average_precision(covid_BS, rest_BS),
            "brier": ratio(weight_BN @ error_N, tn + fp + fn + tp),
            "ece": _calibration_error(scores_S, covid_BS, rest_BS),
        }
        one_class = (tn + fp == 0) | (tp + fn == 0)
        for name in values.keys() - {"sensitivity", "specificity"}:
            values[name] = np.where(one_class, np.nan, values[name])
        return values

    def base(self, name: str) -> Bool:
        """Return the films that a figure rests on: those in its denominator."""
        bases = {
            "sensitivity": self.is_covid_N, "specificity": ~self.is_covid_N,
            "precision": self.called, "npv": ~self.called,
        }  # fmt: skip
        return bases.get(name, np.ones(len(self.is_covid_N), bool))

    def undefined(self, name: str) -> str:
        """Return why a figure is not defined, in words."""
        if not self.is_covid_N.any():
            return "no film with COVID-19"
        if self.is_covid_N.all():
            return "no film without COVID-19"
        return {"precision": "nothing was called positive", "npv": "nothing was called negative"}.get(
            name, "every film was called alike"
        )


@dataclass(frozen=True)
class Judged:
    """N films with the decision of a model that may abstain."""

    decision_N: NDArray[np.int64]
    """1 positive, -1 negative, 0 left open."""
    is_covid_N: Bool
    """The truth."""
    units: Units
    """The patients."""

    def figures(self, weight_BN: Float64) -> Figures:
        """Return the share left open, the error among the others, and what the conformal band promises.

        ``missed_rate`` is the share of COVID-19 films called negative, ``false_alarm_rate`` that of the
        others called positive; films left open are in both denominators.
        """
        covid_N, positive_N, negative_N = self.is_covid_N, self.decision_N == 1, self.decision_N == -1
        wrong_N = (covid_N & negative_N) | (~covid_N & positive_N)
        parts = {
            "abstain_rate": self.decision_N == 0, "error_among_judged": wrong_N,
            "missed_rate": covid_N & negative_N, "false_alarm_rate": ~covid_N & positive_N,
        }  # fmt: skip
        return {name: ratio(weight_BN @ part, weight_BN @ self.base(name)) for name, part in parts.items()}

    def base(self, name: str) -> Bool:
        """Return the films in the denominator of a figure."""
        bases = {
            "error_among_judged": self.decision_N != 0, "missed_rate": self.is_covid_N,
            "false_alarm_rate": ~self.is_covid_N,
        }  # fmt: skip
        return np.asarray(bases.get(name, np.ones(len(self.is_covid_N), bool)))

    def undefined(self, name: str) -> str:
        """Return why a figure is not defined, in words."""
        reasons = {"missed_rate": "no film with COVID-19", "false_alarm_rate": "no film without COVID-19"}
        return reasons.get(name, "every film was left open")


@dataclass(frozen=True)
class Called:
    """N films with one of C classes each, as told and as called."""

    truth_N: NDArray[np.int64]
    """Number of the true class."""
    called_N: NDArray[np.int64]
    """Number of the class that the model names."""
    units: Units
    """The patients."""
    classes: tuple[str, ...]
    """Names of the classes."""

    def confusion(self, weight_BN: Float64) -> Float64:
        """Return the matrices ``count_BCC``: rows are the truth, columns what was called."""
        size = len(self.classes)
        cell_NC = np.eye(size * size)[self.truth_N * size + self.called_N]
        count_BCC: Float64 = (weight_BN @ cell_NC).reshape(-1, size, size)
        return count_BCC

    def figures(self, weight_BN: Float64) -> Figures:
        """Return accuracy, balanced accuracy, macro F1 and, per class, sensitivity and precision."""
        count_BCC = self.confusion(weight_BN)
        hits_BC = np.diagonal(count_BCC, axis1=1, axis2=2)
        true_BC, called_BC = count_BCC.sum(axis=2), count_BCC.sum(axis=1)
        sensitivity_BC, precision_BC = ratio(hits_BC, true_BC), ratio(hits_BC, called_BC)
        values = {
            "accuracy": ratio(hits_BC.sum(axis=1), count_BCC.sum(axis=(1, 2))),
            "balanced_accuracy": sensitivity_BC.mean(axis=1),
            "macro_f1": ratio(2 * hits_BC, true_BC + called_BC).mean(axis=1),
        }
        for number, name in enumerate(self.classes):
            values |= {
                f"sensitivity_{name}": sensitivity_BC[:, number], f"precision_{name}": precision_BC[:, number]
            }  # fmt: skip
        return values

    def base(self, name: str) -> Bool:
        """Return the films in the denominator of a figure."""
        kind, _, of = name.partition("_")
        if of in self.classes and kind in ("sensitivity", "precision"):
            column = self.truth_N if kind == "sensitivity" else self.called_N
            return np.asarray(column == self.classes.index(of))
        return np.ones(len(self.truth_N), bool)

    def undefined(self, name: str) -> str:
        """Return why a figure is not defined, in words."""
        return f"a class has no film, or none was called so ({name})"


def ratio(part: Float64, whole: Float64) -> Float64:
    """Return part / whole, NaN where the whole is 0."""
    result: Float64 = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return result


def confusion(is_covid_N: Bool, called_N: Bool, weight_BN: Float64) -> tuple[Float64, ...]:
    """Return true and false negatives and positives (tn, fp, fn, tp), each of shape B."""
    cells_N4 = np.stack(
        [~is_covid_N & ~called_N, ~is_covid_N & called_N, is_covid_N & ~called_N, is_covid_N & called_N],
        axis=1,
    )
    return tuple((weight_BN @ cells_N4.astype(float)).T)


def _threshold_figures(tn: Float64, fp: Float64, fn: Float64, tp: Float64) -> Figures:
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return {
        "accuracy": ratio(tn + tp, tn + fp + fn + tp),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": ratio(tp * tn - fp * fn, np.sqrt(product)),
    }


def _by_score(score_N: Float64, is_covid_N: Bool, weight_BN: Float64) -> tuple[Float64, Float64, Float64]:
    """Return the distinct scores, ascending, and the mass of both classes at each."""
    order, starts = _distinct(score_N)
    truth_N, weight_BN = is_covid_N[order], weight_BN[:, order]
    covid_BS = np.add.reduceat(weight_BN * truth_N, starts, axis=1)
    return score_N[order][starts], covid_BS, np.add.reduceat(weight_BN * ~truth_N, starts, axis=1)


def _distinct(score_N: Float64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order of ascending scores, and where in it each distinct score begins."""
    order = np.argsort(score_N, kind="stable")
    sorted_N = score_N[order]
    return order, np.flatnonzero(np.append(True, sorted_N[1:] > sorted_N[:-1]))


def weighted_auc(score_N: Float64, is_covid_N: Bool, weight_BN: Float64) -> Float64:
    """Return the area under the ROC curve for each weighting: Mann-Whitney, ties count half, else NaN."""
    _, covid_BS, rest_BS = _by_score(score_N, is_covid_N, weight_BN)
    return _roc_auc(covid_BS, rest_BS)


def _roc_auc(covid_BS: Float64, rest_BS: Float64) -> Float64:
    below_BS = np.cumsum(rest_BS, axis=1) - rest_BS / 2
    return ratio((covid_BS * below_BS).sum(axis=1), covid_BS.sum(axis=1) * rest_BS.sum(axis=1))


def _average_precision(covid_BS: Float64, rest_BS: Float64) -> Float64:
    """Area under the precision-recall curve as steps, not interpolated: sum of recall gained x precision."""
    true_BS = np.cumsum(covid_BS[:, ::-1], axis=1)
    precision_BS = ratio(true_BS, true_BS + np.cumsum(rest_BS[:, ::-1], axis=1))
    # Above the highest score that was drawn there is neither: no recall is gained there.
    gained_B = (covid_BS[:, ::-1] * np.nan_to_num(precision_BS)).sum(axis=1)
    return ratio(gained_B, covid_BS.sum(axis=1))


def _bins(mass_BS: Float64) -> NDArray[np.int64]:
    """Return the bin of each distinct score, 0 to `BINS` - 1: bins of equal mass, equal scores in one bin.

    A score belongs where the middle of its mass lies. The order of the films plays no part, so that what a
    bin holds does not hang on how a manifest is sorted; a score of much mass leaves bins beside it empty.
    """
    total_B1 = mass_BS.sum(axis=1, keepdims=True)
    middle_BS = ratio(np.cumsum(mass_BS, axis=1) - mass_BS / 2, np.broadcast_to(total_B1, mass_BS.shape))
    return np.clip(np.nan_to_num(middle_BS) * BINS, 0, BINS - 1).astype(np.int64)


def _calibration_error(scores_S: Float64, covid_BS: Float64, rest_BS: Float64) -> Float64:
    """Mean over the films of |mean probability - share of COVID-19| of their bin."""
    mass_BS = covid_BS + rest_BS
    bin_BS = _bins(mass_BS) + BINS * np.arange(len(mass_BS))[:, None]
    excess_BS = mass_BS * scores_S - covid_BS
    per_bin = np.bincount(bin_BS.ravel(), excess_BS.ravel(), BINS * len(mass_BS)).reshape(-1, BINS)
    return ratio(np.abs(per_bin).sum(axis=1), mass_BS.sum(axis=1))


def reliability(scored: Scored) -> list[dict[str, float]]:
    """Return the bins of the calibration error: mean probability, share of COVID-19, films, edges.

    Bins that hold no film are left out: there are fewer than `BINS` where films share scores.
    """
    weight_1N = np.ones((1, len(scored.probability_N)))
    scores_S, covid_1S, rest_1S = _by_score(scored.probability_N, scored.is_covid_N, weight_1N)
    mass_S, bin_S = covid_1S[0] + rest_1S[0], _bins(covid_1S + rest_1S)[0]
    bins: list[dict[str, float]] = []
    for number in np.unique(bin_S):
        inside_S = bin_S == number
        films, covid = mass_S[inside_S].sum(), covid_1S[0, inside_S].sum()
        # Rounding must not carry the mean of equal scores past them.
        low, high = scores_S[inside_S].min(), scores_S[inside_S].max()
        mean = np.clip((mass_S * scores_S)[inside_S].sum() / films, low, high)
        bins.append(
            {
                "probability": float(mean), "share": float(covid / films), "films": int(films),
                "covid": int(covid), "low": float(low), "high": float(high),
            }
        )  # fmt: skip
    return bins


def error_by_chance(probability_N: Float64, seed: int = 0, draws: int = 200) -> float:
    """Return the mean calibration error of a model whose every probability is right, on as many films.

    Bins of few films never match their probability; a calibration error near this one says nothing.
    """
    drawn_BN = np.random.default_rng(seed).random((draws, len(probability_N))) < probability_N
    order, starts = _distinct(probability_N)
    covid_BS: Float64 = np.add.reduceat(drawn_BN[:, order].astype(np.float64), starts, axis=1)
    films_S = np.diff(np.append(starts, len(order)))
    return float(_calibration_error(probability_N[order][starts], covid_BS, films_S - covid_BS).mean())


def net_benefit(scored: Scored, at_T: Float64) -> dict[str, Float64]:
    """Return the net benefit of treating by the model, of treating all and none, at threshold probabilities.

    ``TP / n - FP / n * t / (1 - t)`` (Vickers and Elkin 2006), at the films' own share of COVID-19.
    """
    positive_TN = scored.probability_N >= at_T[:, None]
    films = len(scored.is_covid_N)
    hits_T = (positive_TN & scored.is_covid_N).sum(axis=1) / films
    harm_T = (positive_TN & ~scored.is_covid_N).sum(axis=1) / films
    price_T = at_T / (1 - at_T)
    share = float(scored.is_covid_N.mean())
    return {
        "model": hits_T - harm_T * price_T,
        "treat all": share - (1 - share) * price_T,
        "treat none": np.zeros(len(at_T)),
    }


@dataclass(frozen=True)
class Ranked:
    """N films ranked by one head, with that head's own answer."""

    score_N: Float64
    """The higher, the more yes."""
    yes_N: Bool
    """The truth."""
    units: Units
    """The patients."""

    def figures(self, weight_BN: Float64) -> Figures:
        """Return the ROC AUC."""
        return {"roc_auc": weighted_auc(self.score_N, self.yes_N, weight_BN)}

    def base(self, name: str) -> Bool:
        """Return all films."""
        return np.ones(len(self.yes_N), bool)

    def undefined(self, name: str) -> str:
        """Return why the figure is not defined, in words."""
        return "every film has the same answer"
