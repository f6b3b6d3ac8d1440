"""What a model makes of many films under each change: its features and its log-odds of COVID-19."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from model.answers import covid_log_odds
from model.checkpoint import Model
from model.film_reading import read_film
from model.manifest import Film
from model.metrics import Bool, Float64, Units
from model.scoring import BATCH
from model.shortcuts.changes import CHANGES
from model.transforms import IMAGE, evaluation_transform


@dataclass(frozen=True)
class Looks:
    """N films as one change shows them."""

    features_NC: Float64
    """Mean of each channel of the last feature map."""
    odds_N: Float64
    """Log-odds of COVID-19, not calibrated: the calibration changes no order."""


@dataclass(frozen=True)
class Material:
    """N films of an audit, what is known of them, and what the model makes of them."""

    films: Sequence[Film]
    """The films."""
    units: Units
    """The patients."""
    looks: dict[str, Looks]
    """By the name of the change."""
    covid_label: str
    """The label that counts as COVID-19."""

    @property
    def is_covid(self) -> Bool:
        """Return the truth."""
        return np.array([film.label == self.covid_label for film in self.films], bool)

    @property
    def source(self) -> NDArray[np.str_]:
        """Return where each film comes from; empty where the manifest does not say."""
        return np.array([film.source for film in self.films], np.str_)

    def subset(self, chosen_N: Bool) -> "Material":
        """Return the chosen films."""
        looks = {
            name: Looks(found.features_NC[chosen_N], found.odds_N[chosen_N])
            for name, found in self.looks.items()
        }
        films = [film for film, inside in zip(self.films, chosen_N, strict=True) if inside]
        return Material(films, self.units.subset(chosen_N), looks, self.covid_label)


def look(model: Model, folder: Path, films: Sequence[Film], changes: Sequence[str]) -> dict[str, Looks]:
    """Return what the model makes of films under each change.

    Raises
    ------
    dicom_io.errors.UnreadablePixels
        If a film cannot be read or is too small; the message names the file.
    """
    transform = evaluation_transform(model.config.transforms)
    network = model.network.eval()
    features: dict[str, list[Float64]] = {name: [] for name in changes}
    logits: dict[str, list[Float64]] = {name: [] for name in changes}
    with torch.inference_mode():
        for start in tqdm(range(0, len(films), BATCH), desc="looking", unit="batch", disable=None):
            chosen = [read_film(folder, film.path) for film in films[start : start + BATCH]]
            for name in changes:
                changed = [transform({IMAGE: CHANGES[name](image_HW)})[IMAGE] for image_HW in chosen]
                batch_NCHW = torch.stack(changed).contiguous(memory_format=torch.channels_last)
                features_NCHW = network.features(batch_NCHW)
                features[name].append(features_NCHW.mean(dim=(2, 3)).double().numpy())
                logits[name].append(network.classify(features_NCHW).double().numpy())
    return {
        name: Looks(
            np.concatenate(features[name]), covid_log_odds(np.concatenate(logits[name]), model.config)
        )
        for name in changes
    }
