"""The score that every map explains: log P(COVID-19), not calibrated."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network import FilmNetwork


def log_probability(network: FilmNetwork, logits_NK: Tensor) -> Tensor:
    """Return log P(COVID-19), shape ``(N, 1)``: one column, as libraries of explanation want it.

    For questions it is ``sum_k log sigmoid(logit_k)``, for classes the log-softmax of COVID-19's class.
    Calibration is monotone: it changes the size of a map, not what stands out in it.
    """
    if network.covid_class is None:
        return functional.logsigmoid(logits_NK).sum(dim=1, keepdim=True)
    chosen = slice(network.covid_class, network.covid_class + 1)
    return torch.log_softmax(logits_NK, dim=1)[:, chosen]


class LogProbability(nn.Module):
    """From a film to log P(COVID-19)."""

    def __init__(self, network: FilmNetwork) -> None:
        super().__init__()
        self.network = network
        # MONAI puts a module back into the mode that it found, and all that is inside with it.
        self.training = network.training

    def forward(self, batch_NCHW: Tensor) -> Tensor:
        """Return log P(COVID-19), shape ``(N, 1)``."""
        return log_probability(self.network, self.network(batch_NCHW))


class LogProbabilityOfFeatures(nn.Module):
    """From the last feature map to log P(COVID-19), with a layer of its own for hooks.

    Hooks of a library stay where they were put. On the network they would pile up with every film; on this
    layer they go with it.
    """

    def __init__(self, network: FilmNetwork) -> None:
        super().__init__()
        self.network = network
        self.target = nn.Identity()
        self.training = network.training

    def forward(self, features_NCHW: Tensor) -> Tensor:
        """Return log P(COVID-19), shape ``(N, 1)``."""
        return log_probability(self.network, self.network.classify(self.target(features_NCHW)))
