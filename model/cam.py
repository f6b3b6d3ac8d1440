"""Grad-CAM of log P(COVID-19) in closed form: the map that is served, from the forward pass alone."""

import torch
from torch import Tensor
from torch.nn import functional

from model.network import FilmNetwork


def raw_cam(network: FilmNetwork, features_NCHW: Tensor, logits_NK: Tensor) -> Tensor:
    """Return the exact Grad-CAM ``map_NHW`` of log P(COVID-19), not negative, one value per feature cell.

    Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) weighs each feature channel by the average gradient of
    the explained score, and cuts off what is negative. Here the score is ``sum_k log sigmoid(logit_k)``, or
    the log-softmax of COVID-19's class, and the logits are linear in the features, so that the average
    gradient is known without a backward pass: ``sum_k pull_k * weight_kc / (H * W)``, where the pull is
    ``1 - sigmoid(logit_k)`` for questions. It equals
    ``monai.visualize.GradCAM`` before its normalisation. Calibration multiplies the map of a film by one
    number at most, and is left out.
    """
    cells = features_NCHW.shape[2] * features_NCHW.shape[3]
    pull_NK = network.pull(logits_NK) / cells
    channels_NC = pull_NK @ network.channel_weights()
    return functional.relu(torch.einsum("nc,nchw->nhw", channels_NC, features_NCHW))


def scaled_cam(map_NHW: Tensor, cam_scale: float) -> Tensor:
    """Return the map on the model's fixed scale, cut off at 1: never stretched per film."""
    return (map_NHW / cam_scale).clamp(0.0, 1.0)
