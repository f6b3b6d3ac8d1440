"""What each head is told of a film: yes, no, or nothing."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.config import Config, HeadConfig
from model.manifest import Film


def head_answer(film: Film, head: HeadConfig) -> float:
    """Return 1.0 for yes, 0.0 for no, NaN where this head is not asked."""
    asked = not head.sources or film.source in head.sources
    if not asked or f"{film.source}:{film.label}" in head.exclude:
        return math.nan
    if film.label in head.positive:
        return 1.0
    return 0.0 if film.label in head.negative else math.nan


def targets(films: Sequence[Film], config: Config) -> NDArray[np.float32]:
    """Return the answers ``targets_NK``: float32, 1 yes, 0 no, NaN not asked."""
    rows = [[head_answer(film, head) for head in config.heads] for film in films]
    return np.array(rows, np.float32).reshape(len(films), len(config.heads))
