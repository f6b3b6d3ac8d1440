"""The maps that can be asked for: their name, their function, and what their numbers mean."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.maps.gradients import gradcam, gradcam_plus_plus, integrated_gradients
from model.maps.occlusion import occlusion
from model.network import FilmNetwork

Explain = Callable[[FilmNetwork, Tensor], NDArray[np.float32]]
"""From a network in evaluation mode and a transformed ``film_CHW`` to a float32 ``map_HW`` of its extent."""

GRADCAM = "gradcam"
"""The map that is served, and the one whose scale the model fixes."""


@dataclass(frozen=True)
class Method:
    """One way to explain log P(COVID-19)."""

    explain: Explain
    """Network and film to map."""
    signed: bool
    """Whether values below 0 occur; they speak against COVID-19."""
    unit: str
    """What a value of the map is, in words."""


METHODS: dict[str, Method] = {
    GRADCAM: Method(gradcam, False, "part of log P(COVID-19), made linear, that a cell of the last map adds"),
    "gradcam++": Method(gradcam_plus_plus, False, "weighted activation, no unit"),
    "occlusion": Method(occlusion, True, "loss of log P(COVID-19) where a square is greyed out"),
    "integrated-gradients": Method(
        integrated_gradients, True, "part of log P(COVID-19) that a cell adds to that of a grey film"
    ),
}


def method(name: str) -> Method:
    """Return a method by its name.

    Raises
    ------
    ValueError
        If there is none; the message names those that there are.
    """
    if name not in METHODS:
        raise ValueError(f"unknown map {name!r}, expected one of {list(METHODS)}")
    return METHODS[name]
