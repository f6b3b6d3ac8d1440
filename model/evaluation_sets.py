"""Which films are scored together: both questions apart, by source, by view, and by what the model knew."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from model.checkpoint import Model
from model.folds import group_units
from model.known_films import TRAINED
from model.manifest import Film
from model.metrics import Bool, Units
from model.origins import ORIGINS, collection_of, family_of, from_different_places, source_and_label

NORMAL = ("normal",)
DISEASE = ("pneumonia", "other")
REST = "COVID-19 against the rest"
AGAINST_NORMAL = "COVID-19 against normal"
AGAINST_DISEASE = "COVID-19 against other disease"
QUESTIONS = {AGAINST_NORMAL: NORMAL, AGAINST_DISEASE: DISEASE}
SUFFIXES = {REST: "", AGAINST_NORMAL: "_covid_vs_normal", AGAINST_DISEASE: "_covid_vs_other_disease"}
"""What is put behind a figure's name where figures of several questions stand in one list."""
ROLES = {
    "calibrated": "sources that calibrated the model, other films",
    "trained": "sources that trained the model, other films",
    "kin": "sources of the families that trained or calibrated the model, themselves unseen",
    "unseen": "families that neither trained nor calibrated the model",
}


@dataclass(frozen=True)
class EvaluationSet:
    """Films that are scored together."""

    name: str
    """Name in results."""
    kind: str
    """``question``, ``source``, ``view`` or ``role``."""
    chosen_N: Bool
    """Whether each film belongs."""


def units_of(films: Sequence[Film]) -> Units:
    """Return the patients and groups of films, and which films name their patient."""
    return Units(group_units(films), np.array([names_its_patient(film) for film in films], bool))


def names_its_patient(film: Film) -> bool:
    """Return whether a film names its patient.

    A patient id that is the film's own file name, alone or after the source or a collection's name as
    `model.manifests` writes it, was made up from it: such a film names no patient.
    """
    stem = PurePosixPath(film.path).stem
    made_up = {stem, *(f"{place}-{stem}" for place in (film.source, *ORIGINS))}
    return bool(film.patient_id) and film.patient_id not in made_up


def evaluation_sets(films: Sequence[Film], model: Model) -> list[EvaluationSet]:
    """Return every set to report; the first is all films."""
    covid_label = model.config.data.covid_label
    everything = np.ones(len(films), bool)
    found = [EvaluationSet(REST, "question", everything)]
    found += [EvaluationSet(name, "question", chosen_N) for name, chosen_N in _apart(films, covid_label, "")]
    sources, views = (sorted({str(getattr(film, key)) for film in films}) for key in ("source", "view"))
    if len(sources) > 1:
        for source in sources:
            there_N = np.array([film.source == source for film in films])
            place = source or "no source named"
            found.append(EvaluationSet(f"{place}: {REST}", "source", there_N))
            apart = _apart([film for film in films if film.source == source], covid_label, f"{place}: ")
            for name, within in apart:
                chosen_N = there_N.copy()
                chosen_N[there_N] = within
                # With one kind of other films their question is the whole story.
                if not np.array_equal(chosen_N, there_N):
                    found.append(EvaluationSet(name, "source", chosen_N))
                else:
                    found[-1] = EvaluationSet(name, "source", chosen_N)
    if len(views) > 1:
        for view in views:
            chosen_N = np.array([film.view == view for film in films])
            found.append(EvaluationSet(f"view {view or 'not named'}", "view", chosen_N))
    return found + role_sets(films, model)


def _apart(films: Sequence[Film], covid_label: str, place: str) -> list[tuple[str, Bool]]:
    label_N = np.array([film.label for film in films])
    covid_N = label_N == covid_label
    found = []
    for question, labels in QUESTIONS.items():
        rest_N = np.isin(label_N, labels)
        if rest_N.any() and covid_N.any():
            found.append((place + question, rest_N | covid_N))
    return found


def role_sets(films: Sequence[Film], model: Model) -> list[EvaluationSet]:
    """Return the films by what the model had of their source: calibration, training, its family, or nothing.

    A model knows its sources by the counts of its provenance (``source:label``, by subset), and families by
    `model.origins`: a source whose films are those of a training source under another name is not unseen. A
    film of a source that nobody knows counts as unseen; so does one that names none, unless the model was
    made of films that name none.
    """
    counted = model.provenance.get("films", {})

    calibrated = set(model.config.data.calibration_sources)
    trained = {source_and_label(name)[0] for subset in TRAINED for name in counted.get(subset, {})}
    known = trained | calibrated
    collections = {collection_of(source) for source in known - {""}}
    kin = {film.source for film in films if film.source and collections & family_of(film.source)} - known
    roles = {
        "calibrated": [film.source in calibrated for film in films],
        "trained": [film.source in trained - calibrated for film in films],
        "kin": [film.source in kin for film in films],
        "unseen": [film.source not in known | kin for film in films],
    }
    return [
        EvaluationSet(ROLES[role], "role", np.array(there, bool))
        for role, there in roles.items()
        if any(there)
    ]


def from_different_sources(films: Sequence[Film], covid_label: str) -> bool:
    """Return `model.origins.from_different_places` of films."""
    covid = {film.source for film in films if film.label == covid_label}
    rest = {film.source for film in films if film.label != covid_label}
    return from_different_places(covid, rest)
