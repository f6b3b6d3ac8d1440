"""The films that a model got most wrong, as small pictures for the report; they never leave its folder."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from model.metrics import Scored
from model.transforms import load_film

MOST = 6
"""Films of each kind of error."""
SIDE_PX = 200


@dataclass(frozen=True)
class WorstError:
    """One film on the wrong side of the threshold."""

    path: str
    """Path in the manifest."""
    label: str
    """The truth, as the manifest says it."""
    source: str
    """Where the film comes from."""
    probability: float
    """What the model said."""
    picture: str
    """The film as an address that holds its data."""


def worst(scored: Scored) -> tuple[list[int], list[int]]:
    """Return the rows of COVID-19 films of the lowest, and of other films of the highest probability.

    Only films on the wrong side of the threshold are named, the worst first.
    """
    missed_N = scored.is_covid_N & ~scored.called
    alarmed_N = ~scored.is_covid_N & scored.called
    order = np.argsort(scored.probability_N, kind="stable")
    missed = [int(row) for row in order if missed_N[row]][:MOST]
    alarmed = [int(row) for row in order[::-1] if alarmed_N[row]][:MOST]
    return missed, alarmed


def worst_error(folder: Path, known: Sequence[str], probability: float) -> WorstError:
    """Return a film with its small picture; `known` is path, label and source."""
    path, label, source = known
    return WorstError(path, label, source, probability, thumbnail(folder / path))


def thumbnail(path: Path) -> str:
    """Return the film, reduced to `SIDE_PX`, as a JPEG in an address that holds its data."""
    image_HW = load_film(path)
    grey = Image.fromarray(np.asarray(np.rint(image_HW.clip(0, 1) * 255), np.uint8))
    grey.thumbnail((SIDE_PX, SIDE_PX))
    buffer = io.BytesIO()
    grey.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
