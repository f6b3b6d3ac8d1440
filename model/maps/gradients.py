"""Maps by gradients: Grad-CAM as it is served, Grad-CAM++ (MONAI), integrated gradients (Captum)."""

import numpy as np
import torch
from monai.visualize.class_activation_maps import GradCAMpp
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model.cam import raw_cam
from model.maps.score import LogProbability, LogProbabilityOfFeatures
from model.network import FilmNetwork

STEPS = 64
"""Points on the way from the grey film to the film."""
AT_A_TIME = 8
"""Of these points so many go through the network at once."""
CELLS = 32
"""Parts of pixels are added up in so many cells a side: pixel by pixel they are a speckle that nobody reads.
The side of every input divides by it."""


def gradcam(network: FilmNetwork, film_CHW: Tensor) -> NDArray[np.float32]:
    """Return the map that is served: `model.cam.raw_cam`, one value per cell of the last feature map."""
    with torch.no_grad():
        features_NCHW = network.features(film_CHW[None])
        map_NHW = raw_cam(network, features_NCHW, network.classify(features_NCHW))
    return _as_map(map_NHW[0])


def gradcam_plus_plus(network: FilmNetwork, film_CHW: Tensor) -> NDArray[np.float32]:
    """Return Grad-CAM++ (Chattopadhyay et al. 2018, arXiv:1710.11063), one value per feature cell."""
    with torch.no_grad():
        features_NCHW = network.features(film_CHW[None])
    explainer = GradCAMpp(
        LogProbabilityOfFeatures(network),
        "target",
        upsampler=lambda size: nn.Identity(),
        postprocessing=lambda map_N1HW: map_N1HW,
    )
    return _as_map(explainer(x=features_NCHW.clone().requires_grad_(), class_idx=0)[0, 0])


def integrated_gradients(network: FilmNetwork, film_CHW: Tensor) -> NDArray[np.float32]:
    """Return integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) in `CELLS` cells a side.

    The way starts at a film that is grey all over: 0, the mean that the evaluation transform gives every
    film. With ever more points the values add up to log P(COVID-19) of the film minus that of the grey one;
    with `STEPS` they do so roughly, for the gradients of networks with ReLU jump.

    Raises
    ------
    ModuleNotFoundError
        If Captum, which the ``train`` extra brings, is missing.
    """
    # The other maps need nothing beyond what serving needs.
    from captum.attr import IntegratedGradients

    explainer = IntegratedGradients(LogProbability(network))
    parts_NCHW: Tensor = explainer.attribute(
        film_CHW[None], baselines=0.0, target=0, n_steps=STEPS, internal_batch_size=AT_A_TIME
    )
    side = film_CHW.shape[-1] // CELLS
    cells_1HW = functional.avg_pool2d(parts_NCHW[0].sum(dim=0)[None], side, divisor_override=1)
    return _as_map(cells_1HW[0])


def _as_map(map_HW: Tensor) -> NDArray[np.float32]:
    result: NDArray[np.float32] = map_HW.detach().cpu().numpy().astype(np.float32)
    return result
