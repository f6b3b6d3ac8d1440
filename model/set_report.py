"""The figures of each set of films as plain values, and the flat list of them that others read."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import answers, metrics
from model.bootstrap import Figure, intervals, to_json
from model.checkpoint import Model
from model.evaluation_sets import REST, ROLES, SUFFIXES, EvaluationSet, from_different_sources
from model.manifest import Film
from model.predictions import Predictions
from model.probability import log_odds, sigmoid
from model.targets import targets

FEWEST = 10
"""A class of fewer films than this gets no figure in tables and no picture: too few."""
PANELS = 6
"""Most sets in a picture; the JSON holds all."""
OWN_PREVALENCE = "ece_at_own_prevalence"


@dataclass(frozen=True)
class Evaluated:
    """Films that were scored, and what the model said."""

    model: Model
    """The model."""
    films: Sequence[Film]
    """The films, in the order of the predictions."""
    predictions: Predictions
    """What it said."""
    logits_NK: NDArray[np.float64]
    """The logits of its heads."""

    @property
    def covid_label(self) -> str:
        """Return the label that counts as COVID-19."""
        return self.model.config.data.covid_label

    @property
    def scored(self) -> metrics.Scored:
        """Return the films with their probability."""
        return self.predictions.scored(self.covid_label)


def report_set(chosen: EvaluationSet, evaluated: Evaluated) -> dict[str, Any]:
    """Return the figures of one set as JSON values."""
    part = evaluated.scored.subset(chosen.chosen_N)
    judged = evaluated.predictions.judged(evaluated.covid_label)
    judged = metrics.Judged(judged.decision_N[chosen.chosen_N], part.is_covid_N, part.units)
    members = [film for film, inside in zip(evaluated.films, chosen.chosen_N, strict=True) if inside]
    figures = intervals(part, chosen.name) | intervals(judged, chosen.name)
    if chosen.kind in ("question", "role"):
        figures[OWN_PREVALENCE] = at_own_prevalence(part, chosen.name, evaluated.model)
    return {
        "kind": chosen.kind,
        **counted(part),
        "classes_from_different_sources": from_different_sources(members, evaluated.covid_label),
        "metrics": to_json(figures),
    }


def counted(scored: metrics.Scored) -> dict[str, Any]:
    """Return films, patients and confusion matrix of scored films as JSON values, and what is too few."""
    films = len(scored.is_covid_N)
    matrix = metrics.confusion(scored.is_covid_N, scored.called, np.ones((1, films)))
    tn, fp, fn, tp = (int(cell[0]) for cell in matrix)
    return {
        "films": films,
        "covid": int(scored.is_covid_N.sum()),
        "units": scored.units.count(np.ones(films, bool)),
        "too_few": too_few(scored.is_covid_N),
        "confusion_matrix": [[tn, fp], [fn, tp]],
        "ece_by_chance": round(metrics.error_by_chance(scored.probability_N), 5),
    }


def too_few(is_covid_N: metrics.Bool) -> bool:
    """Return whether one of the classes has fewer than `FEWEST` films."""
    return bool(min(is_covid_N.sum(), (~is_covid_N).sum()) < FEWEST)


def at_own_prevalence(part: metrics.Scored, name: str, model: Model) -> Figure:
    """Return the calibration error had the model assumed this set's own share of COVID-19.

    What is left is not a matter of prevalence. The share is known in hindsight only.
    """
    share = float(part.is_covid_N.mean())
    if not 0 < share < 1:
        return Figure(None, None, None, len(part.is_covid_N), name, f"not defined: {part.undefined('ece')}")
    shift = float(log_odds(share) - log_odds(model.calibration.prevalence_assumed))
    inside_N = np.clip(part.probability_N, 1e-12, 1 - 1e-12)
    moved = dataclasses.replace(part, probability_N=sigmoid(log_odds(inside_N) + shift))
    figure = intervals(moved, name)["ece"]
    return dataclasses.replace(
        figure, method=f"{figure.method}; shifted to the set's own share of COVID-19, {share:.3f}"
    )


def report_heads(evaluated: Evaluated) -> dict[str, Any]:
    """Return the ROC AUC of each head on the films that it is asked about."""
    config = evaluated.model.config
    targets_NK = targets(evaluated.films, config)
    score_NK = answers.head_scores(evaluated.logits_NK, config)
    result: dict[str, Any] = {}
    for k, name in enumerate(config.head_names):
        asked_N = ~np.isnan(targets_NK[:, k])
        yes_N = targets_NK[asked_N, k] == 1
        if not yes_N.any() or yes_N.all():
            continue
        ranked = metrics.Ranked(score_NK[asked_N, k], yes_N, evaluated.predictions.units.subset(asked_N))
        figures = to_json(intervals(ranked, f"head {name}"))
        result[name] = {"films": int(asked_N.sum()), "yes": int(yes_N.sum()), "metrics": figures}
    return result


def called_classes(evaluated: Evaluated) -> metrics.Called | None:
    """Return the films with the class that a model of classes calls likeliest; None for one of questions.

    Films whose label is in none of its classes are left out.
    """
    config = evaluated.model.config
    if config.link != "softmax":
        return None
    class_of = {label: k for k, head in enumerate(config.heads) for label in head.positive}
    known_N = np.array([film.label in class_of for film in evaluated.films], bool)
    truth = [class_of[film.label] for film in evaluated.films if film.label in class_of]
    called_N = evaluated.logits_NK[known_N].argmax(axis=1)
    units = evaluated.predictions.units.subset(known_N)
    return metrics.Called(np.array(truth, np.int64), called_N, units, config.head_names)


def report_classes(evaluated: Evaluated) -> dict[str, Any] | None:
    """Return figures and matrix of a model of classes that exclude each other, None for any other."""
    films = called_classes(evaluated)
    if films is None or not len(films.truth_N):
        return None
    matrix = films.confusion(np.ones((1, len(films.truth_N))))[0].astype(int).tolist()
    figures = intervals(films, "every film of a class")
    heads = enumerate(evaluated.model.config.heads)
    return {
        "names": list(films.classes),
        "class_of_label": {label: number for number, head in heads for label in head.positive},
        "confusion_matrix": matrix,
        "metrics": to_json(figures),
    }


def flat_figures(sets: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the figures by one name each: of all films, of each question, and by what the model had of them.

    ``roc_auc`` is that of COVID-19 against the rest, ``roc_auc_covid_vs_normal`` that of the question;
    ``ece_in_source`` is of the sources that calibrated (or, with none of them here, trained) the model,
    ``ece_training_sources`` of those that trained it, ``ece_out_of_family`` of families that did neither.
    """
    flat: dict[str, dict[str, Any]] = {}
    for question, suffix in SUFFIXES.items():
        if question in sets:
            flat |= {f"{name}{suffix}": figure for name, figure in sets[question]["metrics"].items()}
    here = next((ROLES[role] for role in ("calibrated", "trained") if ROLES[role] in sets), None)
    places = {"_in_source": here, "_training_sources": ROLES["trained"], "_out_of_family": ROLES["unseen"]}
    for suffix, place in places.items():
        if place in sets:
            found = sets[place]["metrics"]
            names = ("ece", OWN_PREVALENCE, "abstain_rate", "error_among_judged", "roc_auc")
            flat |= {f"{name}{suffix}": found[name] for name in names}
    return flat


def sets_to_show(sets: dict[str, dict[str, Any]]) -> list[str]:
    """Return the sets worth a picture: questions, then honest comparisons, then large ones."""

    def rank(name: str) -> tuple[bool, bool, int]:
        films, covid = int(sets[name]["films"]), int(sets[name]["covid"])
        mixed = bool(sets[name]["classes_from_different_sources"])
        return sets[name]["kind"] != "question", mixed, -min(covid, films - covid)

    named = [name for name in sets if sets[name]["kind"] in ("question", "source")]
    chosen = [name for name in named if not sets[name]["too_few"]] or [REST]
    return sorted(chosen, key=rank)[:PANELS]
