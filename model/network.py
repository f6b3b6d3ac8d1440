"""The CNN: a backbone from the registry, one logit per head that is linear in the last feature map."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from model.config import Config, NetworkConfig
from model.networks import Wanted, entry


class FilmNetwork(nn.Module):
    """Backbone and linear heads; the logits are linear in the last feature map.

    Parameters
    ----------
    config
        Name of the backbone, width, depth and dropout.
    head_names
        One logit per name, in this order.
    input_px
        Side of the square input; some backbones fix their paddings by it.

    Raises
    ------
    ValueError
        If no network has that name, or it cannot be scaled as asked.
    """

    def __init__(self, config: NetworkConfig, head_names: tuple[str, ...], input_px: int) -> None:
        super().__init__()
        self.head_names = head_names
        self.input_px = input_px
        self.covid_class: int | None = None
        """Number of the head that stands for COVID-19 among classes; None where the heads are questions."""
        self.entry = entry(config.name)
        if not self.entry.scales and (config.width, config.depth) != (1.0, 1.0):
            raise ValueError(f"{config.name} has one size: width and depth must be 1")
        wanted = Wanted(len(head_names), input_px, config.width, config.depth, config.drop_connect)
        self.backbone = self.entry.build(wanted)
        _, channels, rows, columns = _shape_of_map(self.backbone, input_px)
        self.cells = rows * columns
        self.heads = nn.Linear(channels * (self.cells if self.entry.flattens else 1), len(head_names))
        if not self.entry.flattens:
            # From zero the first steps do not spoil a backbone that knows something.
            nn.init.zeros_(self.heads.weight)
            nn.init.zeros_(self.heads.bias)
        self.dropout = nn.Dropout(config.dropout)
        self.frozen_norm = config.frozen_norm
        self.last_map = nn.Identity()
        """The module whose output is the last feature map: the target layer for Grad-CAM by hooks."""

    def train(self, mode: bool = True) -> Self:
        """Set training mode; batch normalisation stays as it is where the config freezes its averages."""
        super().train(mode)
        if self.frozen_norm:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def features(self, batch_NCHW: Tensor) -> Tensor:
        """Return the last feature map ``features_NCHW``."""
        # In rows of cells, whatever the backbone prefers: the order of a sum decides its last bit.
        features_NCHW: Tensor = self.last_map(self.backbone(batch_NCHW).contiguous())
        return features_NCHW

    def classify(self, features_NCHW: Tensor) -> Tensor:
        """Return ``logits_NK`` for the output of `features`."""
        flat = features_NCHW.flatten(1) if self.entry.flattens else features_NCHW.mean(dim=(2, 3))
        logits_NK: Tensor = self.heads(self.dropout(flat))
        return logits_NK

    def channel_weights(self) -> Tensor:
        """Return ``weights_KC``: what a channel adds to a logit if it rises by 1 in every cell.

        Divided by the number of cells it is the average gradient of the logit over the cells of the channel,
        which is what Grad-CAM weighs the channel by, whether the heads pool the map or weigh each cell.
        """
        weights = self.heads.weight
        if not self.entry.flattens:
            return weights
        return weights.reshape(len(self.head_names), -1, self.cells).sum(dim=2)

    def pull(self, logits_NK: Tensor) -> Tensor:
        """Return the gradient ``pull_NK`` of log P(COVID-19) with respect to the logits.

        For questions log P is ``sum_k log sigmoid(logit_k)``, for classes the log-softmax of COVID-19's.
        """
        if self.covid_class is None:
            return torch.sigmoid(-logits_NK)
        own_K = torch.zeros_like(logits_NK[0])
        own_K[self.covid_class] = 1.0
        return own_K - torch.softmax(logits_NK, dim=1)

    def forward(self, batch_NCHW: Tensor) -> Tensor:
        """Return ``logits_NK`` for ``batch_NCHW``."""
        return self.classify(self.features(batch_NCHW.contiguous(memory_format=torch.channels_last)))


def _shape_of_map(backbone: nn.Module, input_px: int) -> torch.Size:
    was_training = backbone.training
    with torch.no_grad():
        features_NCHW: Tensor = backbone.eval()(torch.zeros(1, 3, input_px, input_px))
    backbone.train(was_training)
    if features_NCHW.ndim != 4:
        raise ValueError(f"a network must end in a map of four axes, came shape {tuple(features_NCHW.shape)}")
    return features_NCHW.shape


def build_network(config: Config) -> FilmNetwork:
    """Return a network with fresh weights for `config`."""
    network = FilmNetwork(config.network, config.head_names, config.transforms.input_px)
    network.covid_class = config.covid_class
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def load_imagenet(network: FilmNetwork) -> None:
    """Put ImageNet's weights into the backbone; the heads stay as they are.

    Raises
    ------
    ModuleNotFoundError
        If the package of the weights (in the ``train`` extra) is missing.
    ValueError
        If there are no such weights for this network.
    """
    if network.entry.load_start is None:
        raise ValueError(f"there are no ImageNet weights for {network.entry.name}: set pretrained to false")
    network.entry.load_start(network.backbone)
