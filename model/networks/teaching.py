"""A network that can be drawn on a blackboard and trains in minutes on two cores."""

from monai.networks.blocks.convolutions import Convolution
from torch import nn

from model.networks.registry import Wanted, register

CHANNELS = (16, 32, 64, 128)


@register("teaching-cnn", scales=True)
def teaching_cnn(wanted: Wanted) -> nn.Module:
    """Return four times convolution, normalisation, ReLU and pooling: a cell of its map sees 16 pixels."""
    layers: list[nn.Module] = []
    before = 3
    for channels in CHANNELS:
        after = max(1, round(channels * wanted.width))
        layers += [Convolution(2, before, after, act="relu", norm="batch", bias=False), nn.MaxPool2d(2)]
        before = after
    return nn.Sequential(*layers)
