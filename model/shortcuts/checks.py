"""The figures of an audit: borders, letters, permuted labels, sources, age, and families held out."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.bootstrap import Figure, Films, intervals
from model.evaluation_sets import REST
from model.fold_figures import Fold
from model.metrics import Bool, Ranked
from model.shortcuts.areas import AUC, Against, Effect, Loss, Within
from model.shortcuts.looks import Material
from model.shortcuts.probes import permuted, predicted, probe_folds, probed

PERMUTATIONS = 10
FEWEST = 10
"""A source with fewer films of a class takes no part in figures within sources."""

Found = dict[str, Figure]


def _measured(films: Films, set_name: str, how: str) -> Figure:
    figure = intervals(films, set_name)[AUC]
    return dataclasses.replace(figure, method=f"{how}; {figure.method}")


def _said(figure: Figure, how: str) -> Figure:
    return dataclasses.replace(figure, method=f"{how}; {figure.method}")


def missing(set_name: str, reason: str) -> Figure:
    """Return a figure that could not be had, with the reason."""
    return Figure(None, None, None, 0, set_name, f"not defined: {reason}")


def within_sources(material: Material) -> NDArray[np.str_]:
    """Return the sources that have at least `FEWEST` films of either class."""
    yes_N, source_N = material.is_covid, material.source
    enough = [
        source
        for source in np.unique(source_N)
        if min((yes_N & (source_N == source)).sum(), (~yes_N & (source_N == source)).sum()) >= FEWEST
    ]
    return np.array(enough, np.str_)


def border_figures(material: Material) -> Found:
    """Return how well the score, and a probe of the features, do on whole films, borders and centres."""
    yes_N, units, source_N = material.is_covid, material.units, material.source
    inside = within_sources(material)
    there_N = np.isin(source_N, inside)
    found: Found = {}
    for name, how in (
        ("whole", "the model's score"),
        ("border_only", "the model's score of the border, the centre filled with the border's mean"),
        ("centre_only", "the model's score of the centre, the border filled with the centre's mean"),
    ):
        odds_N = material.looks[name].odds_N
        found[f"{name}_auc"] = _measured(Ranked(odds_N, yes_N, units), REST, how)
        within = f"{REST}, within {', '.join(inside) or 'no source'}"
        found[f"{name}_within_sources_auc"] = (
            _measured(
                Within(units.subset(there_N), odds_N[there_N], yes_N[there_N], source_N[there_N]),
                within,
                f"{how}, mean over sources",
            )
            if len(inside)
            else missing(within, f"no source has {FEWEST} films of either class")
        )
    for name in ("whole", "border_only"):
        how = f"linear probe of the frozen features of {name.replace('_', ' ')} films"
        folds = probe_folds(material.looks[name].features_NC, yes_N.astype(np.int64), units, "")
        found[f"{name}_probe_auc"] = _said(probed(folds, REST, len(yes_N)), how)
        found[f"{name}_probe_within_sources_auc"] = _said(_probe_within(material, name, inside), how)
    return found


def by_source(material: Material) -> dict[str, Found]:
    """Return the figures of whole films, borders and centres for each source that has both classes."""
    found: dict[str, Found] = {}
    for source in within_sources(material):
        part = material.subset(material.source == source)
        found[str(source)] = {
            f"{name}_auc": _measured(
                Ranked(part.looks[name].odds_N, part.is_covid, part.units),
                f"{source}: {REST}",
                "the model's score",
            )
            for name in ("whole", "border_only", "centre_only")
        }
    return found


def _probe_within(material: Material, name: str, sources: NDArray[np.str_]) -> Figure:
    folds: list[Fold] = []
    for source in sources:
        part = material.subset(material.source == source)
        features_NC = part.looks[name].features_NC
        folds += probe_folds(features_NC, part.is_covid.astype(np.int64), part.units, f"{source}, ")
    set_name = f"{REST}, a probe of its own within each source"
    films = sum(len(fold.films.units.number_N) for fold in folds)
    return (
        probed(folds, set_name, films)
        if folds
        else missing(set_name, f"no source has {FEWEST} films of either class")
    )


def letter_figures(material: Material) -> Found:
    """Return what hiding the corners and burning in a letter change."""
    yes_N, units = material.is_covid, material.units
    odds = {name: looked.odds_N for name, looked in material.looks.items()}
    whole_N, masked_N, added_N = odds["whole"], odds["corners_masked"], odds["letter_alone"]
    against_N = np.where(yes_N, masked_N, added_N)
    numbers = np.unique(units.number_N)
    half = np.random.default_rng(0).permutation(numbers)[: len(numbers) // 2]
    effect = Effect(units, masked_N, added_N, np.isin(units.number_N, half))
    return {
        "corners_masked_auc": _measured(
            Ranked(masked_N, yes_N, units), REST, "corners of every film filled with their median"
        ),
        "corners_masked_loss": _measured(
            Loss(units, whole_N, masked_N, yes_N), REST, "area of whole films minus that with corners filled"
        ),
        "letters_against_auc": _measured(
            Ranked(against_N, yes_N, units), REST,
            "corners of every film filled, and a letter burned in where there is no COVID-19",
        ),
        "letters_against_loss": _measured(
            Loss(units, masked_N, against_N, yes_N), REST,
            "area with corners filled minus that with letters set against the truth besides",
        ),
        "letter_effect_auc": _measured(
            effect, "every film",
            "corners of every film filled; films of half the patients with a letter burned in against the "
            "others without, and the other way round; 0.5: no effect",
        ),
    }  # fmt: skip


def permutation_figures(material: Material) -> Found:
    """Return what a probe makes of labels that mean nothing: 0.5, unless the folds leak."""
    folds: list[Fold] = []
    for seed in range(PERMUTATIONS):
        shuffled_N = permuted(material.is_covid, material.units, seed).astype(np.int64)
        features_NC = material.looks["whole"].features_NC
        folds += probe_folds(features_NC, shuffled_N, material.units, f"permutation {seed + 1} ", seed)
    figure = probed(folds, "every film, labels exchanged among patients", len(material.films))
    how = f"linear probe of labels permuted among patients, {PERMUTATIONS} times"
    return {"permuted_labels_auc": _said(figure, how)}


def source_figures(material: Material) -> Found:
    """Return how well the source can be told, and how the score does within and against it."""
    sources, number_N = np.unique(material.source, return_inverse=True)
    names = (
        "source_probe_auc", "source_from_score_auc", "source_guess_auc", "within_predicted_source_auc",
        "against_predicted_source_auc",
    )  # fmt: skip
    if len(sources) < 2:
        return {name: missing(REST, "the manifest names fewer than two sources") for name in names}
    units, yes_N = material.units, material.is_covid
    whole = material.looks["whole"]
    # A middle source has middling scores: a straight line alone would not tell it.
    score_NC = np.stack([whole.odds_N, whole.odds_N**2], axis=1)
    by_name = {}
    for name, features_NC in ((names[0], whole.features_NC), (names[1], score_NC)):
        folds = probe_folds(features_NC, number_N, units, "")
        what = "the frozen features" if name == names[0] else "the score and its square"
        figure = probed(folds, f"each of {', '.join(sources)} against the others", len(yes_N))
        by_name[name] = _said(figure, f"linear probe of {what}")
    place_N = predicted(whole.features_NC, number_N, units)
    # What the source alone would say: the share of COVID-19 at the predicted source.
    guess_N = np.array([yes_N[place_N == place].mean() for place in place_N])
    odds_N = whole.odds_N
    by_name[names[2]] = _measured(
        Ranked(guess_N, yes_N, units), REST, "share of COVID-19 at the predicted source as the only score"
    )
    by_name[names[3]] = _measured(
        Within(units, odds_N, yes_N, place_N), REST, "the model's score, mean over predicted sources"
    )
    by_name[names[4]] = _measured(
        Against(units, odds_N, yes_N, place_N), REST,
        "the model's score over pairs in which the predicted source speaks for the wrong film",
    )  # fmt: skip
    return by_name


@dataclass(frozen=True)
class Ages:
    """Films of children without COVID-19, and the films of adults from the same sources."""

    material: Material
    """Both, as whole films."""
    is_child_N: Bool
    """Whether each film is a child's."""


def age_figures(ages: Ages | None) -> Found:
    """Return how the score and the features part children from adults, and what children would add."""
    names = ("child_from_score_auc", "child_probe_auc", "against_adults_auc", "against_children_auc")
    if ages is None:
        reason = "the manifest marks no film without COVID-19 of a child at a source that has adults' too"
        return {name: missing("children and adults", reason) for name in names}
    material, child_N = ages.material, ages.is_child_N
    yes_N, units, whole = material.is_covid, material.units, material.looks["whole"]
    calm_N = ~yes_N
    inside = ", ".join(np.unique(material.source))
    healthy = f"films without COVID-19 of {inside}"
    folds = probe_folds(whole.features_NC[calm_N], child_N[calm_N].astype(np.int64), units.subset(calm_N), "")

    def scored(chosen_N: Bool, yes: Bool, set_name: str, how: str) -> Figure:
        return _measured(Ranked(whole.odds_N[chosen_N], yes[chosen_N], units.subset(chosen_N)), set_name, how)

    return {
        names[0]: scored(calm_N, child_N, healthy, "the model's score, children against adults"),
        names[1]: _said(
            probed(folds, healthy, int(calm_N.sum())), "linear probe of the frozen features for children"
        ),
        names[2]: scored(~child_N, yes_N, f"{REST}, adults of {inside}", "the model's score"),
        names[3]: scored(
            yes_N | child_N, yes_N, f"COVID-19 against children of {inside}", "the model's score"
        ),
    }


def family_figures(means: Sequence[Figure]) -> Found:
    """Return the mean over families held out, each scored by a model that never saw it, where it is given."""
    if means:
        return {"held_out_families_auc": means[0]}
    return {"held_out_families_auc": missing(REST, "no results of families held out were given")}
