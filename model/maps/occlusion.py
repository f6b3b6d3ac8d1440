"""Occlusion sensitivity (MONAI): what log P(COVID-19) loses when a square of the film is greyed out."""

import warnings

import numpy as np
import torch
from monai.visualize.occlusion_sensitivity import OcclusionSensitivity
from numpy.typing import NDArray
from torch import Tensor

from model.maps.score import LogProbability
from model.network import FilmNetwork

PART = 5
"""The square's side is this part of the film's."""
OVERLAP = 0.5
AT_A_TIME = 16


def occlusion(network: FilmNetwork, film_CHW: Tensor) -> NDArray[np.float32]:
    """Return the loss (Zeiler and Fergus 2014, arXiv:1311.2901), one value per pixel of the input.

    The square is filled with the film's mean and moves by half its side; where squares overlap their losses
    are averaged. Above 0 the region speaks for COVID-19, below 0 against it.
    """
    explainer = OcclusionSensitivity(
        LogProbability(network),
        mask_size=film_CHW.shape[-1] // PART,
        n_batch=AT_A_TIME,
        mode="mean_img",
        overlap=OVERLAP,
        activate=False,
        verbose=False,
    )
    with torch.no_grad(), warnings.catch_warnings():
        # MONAI 1.6 indexes by lists where PyTorch asks for tuples; the tests hold the map to a plain loop.
        warnings.filterwarnings("ignore", "Using a non-tuple sequence", UserWarning)
        whole = float(LogProbability(network)(film_CHW[None])[0, 0])
        left_N1HW, _ = explainer(film_CHW[None])
    result: NDArray[np.float32] = whole - np.asarray(left_N1HW[0, 0].cpu(), np.float32)
    return result
