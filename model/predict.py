"""One film in; P(COVID-19), a decision and a heat map out, from one forward pass."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from dicom_io.errors import UnsupportedImage
from model import probability
from model.answers import covid_log_odds, head_probabilities
from model.backends import Choice, open_backend
from model.checkpoint import RELEASE, BadModel, load_model
from model.gate import GateRefusal, load_gate
from model.one_pass import OnePass, Outputs
from model.probability import Decision
from model.transforms import IMAGE, evaluation_transform, load_picture

__all__ = ["MIN_SIDE_PX", "Decision", "ModelInfo", "Prediction", "Predictor", "load_picture"]

log = logging.getLogger(__name__)

MIN_SIDE_PX = 32
"""A film with a shorter side holds nothing that could be judged."""


@dataclass(frozen=True)
class ModelInfo:
    """What a result must say about the model behind it."""

    name: str
    """Name of the model."""
    version: str
    """Version of the model."""
    weights_sha256: str
    """SHA-256 of the weights file, checked when it was read."""
    threshold: float
    """Calibrated probability that parts positive from negative where nothing may be left open."""
    band_low: float
    """Below this the decision is negative."""
    band_high: float
    """From this on the decision is positive."""
    input_size: int
    """Side of the network's square input, in pixels."""
    calibration: str
    """One line: how and on which films the probability was calibrated."""
    prevalence_training: float
    """Share of COVID-19 among the films that calibrated."""
    prevalence_assumed: float
    """Share of COVID-19 that the probability assumes."""
    backend: str
    """``openvino-cpu``, ``pytorch-cpu`` or ``pytorch-cuda``."""
    gate_sha256: str = ""
    """Hash of the gate; empty where the model has none, so that its pixels let every film pass."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one film. For research and teaching only, not for diagnosis."""

    probability: float
    """Calibrated P(COVID-19)."""
    decision: Decision
    """``positive``, ``negative``, or ``indeterminate`` inside the band."""
    cam_HW: NDArray[np.float32]
    """Grad-CAM of COVID-19, 0-1 on the model's fixed scale; it covers exactly the film's extent."""
    head_probabilities: dict[str, float]
    """Probability of each head, not calibrated."""


@dataclass(frozen=True)
class Examination:
    """What one forward pass says of a film: a refusal, or a prediction."""

    refusal: GateRefusal | None
    """Why the film must not be judged."""
    prediction: Prediction | None
    """None where the film is refused: a probability would be believed."""


class Predictor:
    """A model, ready to judge films.

    Parameters
    ----------
    folder
        A model folder as `model.train` writes it; None takes the model shipped with this package.
    threads
        Threads of PyTorch in this process, and of OpenVINO; None leaves them as they are.
    backend
        Who computes; see `model.backends.open_backend`.

    Raises
    ------
    model.checkpoint.BadModel
        If the folder is incomplete or does not match its hashes, or the backend cannot serve.
    """

    def __init__(
        self, folder: Path | None = None, *, threads: int | None = None, backend: Choice = "auto"
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        model = load_model(folder or RELEASE)
        one_pass = OnePass(model.network, model.calibration.cam_scale)
        self._gate = load_gate(folder or RELEASE, model.weights_sha256)
        if self._gate is None:
            log.warning(
                "%s has no gate: whatever a picture shows is judged; python -m model.gate fits one",
                model.config.name,
            )
        elif self._gate.stages != one_pass.stages.names:
            raise BadModel(f"expected a gate that asks {one_pass.stages.names}: fit it anew, by model.gate")
        self._compute = open_backend(one_pass, model.config.transforms.input_px, backend, threads)
        self._config = model.config
        self._calibration = model.calibration
        self._transform = evaluation_transform(model.config.transforms)
        calibration = model.calibration
        self.info = ModelInfo(
            name=model.config.name,
            version=model.config.version,
            weights_sha256=model.weights_sha256,
            threshold=calibration.threshold,
            band_low=calibration.band_low,
            band_high=calibration.band_high,
            input_size=model.config.transforms.input_px,
            calibration=calibration.method,
            prevalence_training=calibration.prevalence_training,
            prevalence_assumed=calibration.prevalence_assumed,
            backend=self._compute.name,
            gate_sha256="" if self._gate is None else self._gate.sha256,
        )

    def examine(self, image_HW: NDArray[np.float32]) -> Examination:
        """Ask the gate whether a film may be judged, and judge it if so, from one forward pass.

        Parameters
        ----------
        image_HW
            As `__call__` takes it.

        Raises
        ------
        dicom_io.errors.UnsupportedImage
            As `__call__` raises it.
        """
        outputs = self._outputs(image_HW)
        refusal = None if self._gate is None else self._gate(outputs.summary_NF[0])
        return Examination(refusal, None if refusal else self._prediction(outputs))

    def __call__(self, image_HW: NDArray[np.float32]) -> Prediction:
        """Judge one film, whatever it shows: the gate is not asked.

        Parameters
        ----------
        image_HW
            float32 in 0-1, air dark, both sides at least `MIN_SIDE_PX`. Brightness and contrast do not
            matter, polarity does.

        Raises
        ------
        dicom_io.errors.UnsupportedImage
            If the array has other than two axes, is too small, or holds a value that is not finite.
        """
        return self._prediction(self._outputs(image_HW))

    def _outputs(self, image_HW: NDArray[np.float32]) -> Outputs:
        if image_HW.ndim != 2 or min(image_HW.shape) < MIN_SIDE_PX:
            raise UnsupportedImage(
                f"expected one grey film of at least {MIN_SIDE_PX} px a side, came shape {image_HW.shape}"
            )
        # PyTorch wants memory that it may write to, in rows.
        image_HW = np.require(image_HW, np.float32, ["C", "W"])
        if not np.isfinite(image_HW).all():
            raise UnsupportedImage("expected finite grey values, came NaN or infinity")
        film_CHW = self._transform({IMAGE: image_HW})[IMAGE]
        return self._compute(film_CHW[None])

    def _prediction(self, outputs: Outputs) -> Prediction:
        map_N1HW = torch.from_numpy(outputs.map_NHW)[:, None]
        side = (self.info.input_size, self.info.input_size)
        cam_NCHW = functional.interpolate(map_N1HW, size=side, mode="bilinear")
        logits = outputs.logits_NK.astype(np.float64)
        odds_N = covid_log_odds(logits, self._config)
        p = float(probability.calibrated(odds_N, self._calibration)[0])
        return Prediction(
            probability=p,
            decision=probability.decide(p, self._calibration),
            cam_HW=cam_NCHW[0, 0].numpy(),
            head_probabilities=dict(
                zip(
                    self._config.head_names,
                    head_probabilities(logits, self._config)[0].tolist(),
                    strict=True,
                )
            ),
        )
