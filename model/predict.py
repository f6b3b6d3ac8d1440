"""One film in; P(COVID-19), a decision and a heat map out, from one forward pass."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from dicom_io.errors import UnsupportedImage
from model import probability
from model.answers import covid_log_odds, head_probabilities
from model.cam import raw_cam, scaled_cam
from model.checkpoint import RELEASE, load_model
from model.probability import Decision
from model.transforms import IMAGE, evaluation_transform, load_picture

__all__ = ["MIN_SIDE_PX", "Decision", "ModelInfo", "Prediction", "Predictor", "load_picture"]

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
    cam_scale: float
    """Value of the raw map that is shown as 1."""
    backend: str
    """``pytorch-cpu`` or ``pytorch-cuda``."""


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


class Predictor:
    """A model, ready to judge films.

    Parameters
    ----------
    folder
        A model folder as `model.train` writes it; None takes the model shipped with this package.
    threads
        Threads of PyTorch in this process; None leaves them as they are.

    Raises
    ------
    model.checkpoint.BadModel
        If the folder is incomplete or does not match its hashes.
    """

    def __init__(self, folder: Path | None = None, *, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        model = load_model(folder or RELEASE)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = model.network.to(self._device)
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
            cam_scale=calibration.cam_scale,
            backend=f"pytorch-{self._device.type}",
        )

    def __call__(self, image_HW: NDArray[np.float32]) -> Prediction:
        """Judge one film.

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
        if image_HW.ndim != 2 or min(image_HW.shape) < MIN_SIDE_PX:
            raise UnsupportedImage(
                f"expected one grey film of at least {MIN_SIDE_PX} px a side, came shape {image_HW.shape}"
            )
        # PyTorch wants memory that it may write to, in rows.
        image_HW = np.require(image_HW, np.float32, ["C", "W"])
        if not np.isfinite(image_HW).all():
            raise UnsupportedImage("expected finite grey values, came NaN or infinity")
        film_CHW = self._transform({IMAGE: image_HW})[IMAGE]
        with torch.inference_mode():
            batch_NCHW = film_CHW[None].to(self._device).contiguous(memory_format=torch.channels_last)
            features_NCHW = self._network.features(batch_NCHW)
            logits_NK = self._network.classify(features_NCHW)
            map_NHW = scaled_cam(raw_cam(self._network, features_NCHW, logits_NK), self.info.cam_scale)
            cam_NCHW = functional.interpolate(map_NHW[:, None], size=film_CHW.shape[1:], mode="bilinear")
        logits = logits_NK.double().cpu().numpy()
        odds_N = covid_log_odds(logits, self._config)
        p = float(probability.calibrated(odds_N, self._calibration)[0])
        return Prediction(
            probability=p,
            decision=probability.decide(p, self._calibration),
            cam_HW=cam_NCHW[0, 0].cpu().numpy(),
            head_probabilities=dict(
                zip(
                    self._network.head_names,
                    head_probabilities(logits, self._config)[0].tolist(),
                    strict=True,
                )
            ),
        )
