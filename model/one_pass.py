"""All that the judgement of a film needs from the network, as outputs of one forward pass."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from model.cam import raw_cam, scaled_cam
from model.network import FilmNetwork
from model.stages import Stages


class Outputs(NamedTuple):
    """What one pass says of N films; a backend that gives these can serve."""

    logits_NK: NDArray[np.float32]
    """One logit per head."""
    summary_NF: NDArray[np.float32]
    """Mean and deviation of each channel at the end of each resolution (`model.stages`), for the gate."""
    map_NHW: NDArray[np.float32]
    """Grad-CAM of COVID-19 on the model's fixed scale, 0-1, one value per cell of the last feature map."""


class OnePass(nn.Module):
    """From ``batch_NCHW`` to the tensors of `Outputs`, in their order.

    Whatever is added here every backend computes: PyTorch runs this module, OpenVINO's graph is made of it.

    Parameters
    ----------
    network
        A trained network; it is put into evaluation mode.
    cam_scale
        Value of the raw map that becomes 1.
    """

    def __init__(self, network: FilmNetwork, cam_scale: float) -> None:
        super().__init__()
        self.network = network.eval()
        self.cam_scale = cam_scale
        self.stages = Stages(self.network)

    def forward(self, batch_NCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``logits_NK``, ``summary_NF`` and ``map_NHW``."""
        features_NCHW = self.network.features(batch_NCHW)
        logits_NK = self.network.classify(features_NCHW)
        map_NHW = scaled_cam(raw_cam(self.network, features_NCHW, logits_NK), self.cam_scale)
        return logits_NK, self.stages.take(), map_NHW
