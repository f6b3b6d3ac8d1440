"""The scale of a method's maps on a set of films: one number for all pictures."""

from pathlib import Path

import numpy as np

from model.evaluate import Request, choose
from model.film_reading import read_film
from model.maps.explainer import Explainer
from model.overlay import Scale

PERCENTILE = 99.0
"""Of the films' largest values, the one that gets the strongest colour: as for the scale of the model."""
MOST_FOR_SCALE = 40


def measured_scale(explainer: Explainer, manifest: Path, split: Path | None = None, seed: int = 0) -> Scale:
    """Return the scale that a set of films gives: one number for all pictures of that method.

    Parameters
    ----------
    explainer
        Model and method.
    manifest
        Films; of those with COVID-19 a seeded sample of at most `MOST_FOR_SCALE` is explained.
    split
        Split file, of which the test films are taken; None takes every film.
    seed
        Seed of the sample.

    Raises
    ------
    ValueError
        If there is no film with COVID-19, or every map is empty.
    """
    films, _, _ = choose(explainer.model, Request(manifest, split))
    covid = [film for film in films if film.label == explainer.model.config.data.covid_label]
    if not covid:
        raise ValueError(f"{manifest.name}: no film with COVID-19 to take the scale from")
    drawn = np.random.default_rng(seed).permutation(len(covid))[:MOST_FOR_SCALE]
    tops = [np.abs(explainer(read_film(manifest.parent, covid[row].path))).max() for row in drawn]
    top = float(np.percentile(tops, PERCENTILE))
    if top <= 0:
        raise ValueError(f"{manifest.name}: every map of {explainer.name} is empty, there is no scale")
    return Scale(top, f"fixed, {PERCENTILE:g}th percentile over {len(tops)} films of {manifest.name}")
