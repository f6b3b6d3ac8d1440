"""The gate's answer and the judgement of one film, from one forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from worker.reading import Gate, GateAnswer

if TYPE_CHECKING:
    from model.predict import Prediction, Predictor


class OneLook:
    """What the model said when the gate was asked, kept for the judgement that follows.

    Parameters
    ----------
    predictor
        The model; one without a gate lets every film pass.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._seen: tuple[NDArray[np.float32], Prediction] | None = None

    @property
    def gate(self) -> Gate | None:
        """The model's gate, or None where it has none."""
        return self._ask if self._predictor.info.gate_sha256 else None

    def _ask(self, image_HW: NDArray[np.float32]) -> GateAnswer | None:
        said = self._predictor.examine(image_HW)
        if said.prediction is not None:
            self._seen = (image_HW, said.prediction)
        return said.refusal

    def judge(self, image_HW: NDArray[np.float32]) -> Prediction:
        """Return what the model says of a film; if its gate saw this very array, without a new pass."""
        if self._seen is not None and self._seen[0] is image_HW:
            return self._seen[1]
        return self._predictor(image_HW)
