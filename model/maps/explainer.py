"""A model and one method: from a film, as it is read, to its map."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.answers import covid_log_odds
from model.checkpoint import Model
from model.maps.registry import Method, method
from model.probability import Decision, calibrated, decide
from model.transforms import IMAGE, evaluation_transform


@dataclass(frozen=True)
class Judgement:
    """What a model says of a film."""

    probability: float
    """Calibrated P(COVID-19)."""
    decision: Decision
    """``positive``, ``negative``, or ``indeterminate`` inside the band."""


@dataclass(frozen=True)
class Explainer:
    """A model and one of the methods that explain it."""

    model: Model
    """The model."""
    name: str
    """Name of the method in `model.maps.METHODS`."""

    @property
    def method(self) -> Method:
        """Return the method of that name."""
        return method(self.name)

    def __call__(self, image_HW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the map of a film, ``map_HW``, covering the film's extent."""
        return self.method.explain(self.model.network.eval(), self._transformed(image_HW))

    def judge(self, image_HW: NDArray[np.float32]) -> Judgement:
        """Return what the model says of the film, by PyTorch, as the map is."""
        network = self.model.network.eval()
        with torch.no_grad():
            logits_NK = network.classify(network.features(self._transformed(image_HW)[None]))
        odds_N = covid_log_odds(logits_NK.double().numpy(), self.model.config)
        said = float(calibrated(odds_N, self.model.calibration)[0])
        return Judgement(said, decide(said, self.model.calibration))

    def _transformed(self, image_HW: NDArray[np.float32]) -> Tensor:
        film_CHW: Tensor = evaluation_transform(self.model.config.transforms)({IMAGE: image_HW})[IMAGE]
        return film_CHW.contiguous()
