"""Whether each subset holds the answers that learning, choosing the epoch and calibrating need."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.config import Config
from model.folds import group_units
from model.manifest import Film
from model.targets import targets

log = logging.getLogger(__name__)

Subsets = Mapping[str, Sequence[Film]]
WORDS = {"train": "training", "validation": "validation", "calibration": "calibration"}
SAID = {1.0: "yes", 0.0: "no"}


@dataclass(frozen=True)
class Question:
    """A question that the films of some subsets must answer both ways."""

    name: str
    """In words."""
    classes: Mapping[float, str]
    """Labels that answer yes (1.0) and no (0.0), in words."""
    answers: Mapping[str, NDArray[np.floating]]
    """``answers_N`` of the films of every subset: 1 yes, 0 no, NaN not asked."""
    needed_in: tuple[str, ...]
    """Subsets whose films must answer both ways."""


def calibrating(config: Config) -> str:
    """Return the subset whose films calibrate: that of the calibration sources, or the validation films."""
    return "calibration" if config.data.calibration_sources else "validation"


def check_classes(config: Config, chosen: Subsets, everything: Sequence[Film]) -> None:
    """Refuse films of which a subset lacks a class before hours are spent on them.

    A head that is taught one answer would learn to always say it; one that is validated on one answer has an
    AUC of 0.5 in every epoch, which chooses none; nor can one class be calibrated. A head that no validation
    film is asked is told, and left to the other heads: they choose the epoch.

    Parameters
    ----------
    config
        Heads and calibration sources.
    chosen
        The films of each subset.
    everything
        Every film of the manifest: also those that are left out join patients and groups.

    Raises
    ------
    ValueError
        Naming the head, the class and the subset, how many films of how many patients there are, and what
        to do.
    """
    numbers = group_units(everything).tolist()
    unit_of = {film.path: number for film, number in zip(everything, numbers, strict=True)}
    for question in questions(config, chosen):
        for subset in question.needed_in:
            answers_N = question.answers[subset]
            missing = [answer for answer in SAID if not (answers_N == answer).any()]
            if missing:
                raise ValueError(_in_words(question, missing[0], subset, chosen, unit_of))


def questions(config: Config, chosen: Subsets) -> Iterator[Question]:
    """Return the question of each head and, last, that of the calibration."""
    asked = {subset: targets(films, config) for subset, films in chosen.items()}
    for k, head in enumerate(config.heads):
        classes = {1.0: " or ".join(head.positive), 0.0: " or ".join(head.negative)}
        answers = {subset: answers_NK[:, k] for subset, answers_NK in asked.items()}
        validated = not np.isnan(answers["validation"]).all()
        if not validated:
            log.warning("head %s: no validation film is asked, the other heads choose the epoch", head.name)
        yield Question(f"head {head.name}", classes, answers, ("train", *("validation",) * validated))
    covid, sources = config.data.covid_label, config.data.calibration_sources
    place = f" of {' or '.join(sources)}" if sources else ""
    yield Question(
        "the calibration (COVID-19 or not)",
        {1.0: f"{covid}{place}", 0.0: f"everything but {covid}{place}"},
        {
            subset: np.array(
                [
                    float(film.label == covid) if not sources or film.source in sources else np.nan
                    for film in films
                ],
                np.float32,
            )
            for subset, films in chosen.items()
        },
        (calibrating(config),),
    )


def _in_words(
    question: Question, answer: float, subset: str, chosen: Subsets, unit_of: Mapping[str, int]
) -> str:
    held = {
        name: [film for film, said in zip(films, question.answers[name], strict=True) if said == answer]
        for name, films in chosen.items()
    }
    units = {unit_of[film.path] for films in held.values() for film in films}
    where = ", ".join(f"{len(films)} in {name}" for name, films in held.items() if films) or "none at all"
    if not units:
        remedy = "Give films of that class, or a configuration that does not ask for it"
    elif len(units) == 1:
        remedy = "A patient or group is never parted between subsets: give films of more patients"
    else:
        remedy = "Another --seed may deal them otherwise, --split names the subset of each film"
    return (
        f"class {question.classes[answer]} is empty: no {WORDS[subset]} film answers {SAID[answer]} to "
        f"{question.name}; there are films of {len(units)} patients or groups that do: {where}. {remedy}"
    )
