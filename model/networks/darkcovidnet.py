"""DarkCovidNet, rebuilt from its paper as the baseline: Ozturk et al. 2020, 10.1016/j.compbiomed.2020.103792.

Seventeen convolutions after DarkNet-19. Two traits of the published network are kept, because the published
number of parameters (1,164,434 for two classes at 256 px) follows from them: its 1x1 convolutions are padded
by one pixel, so that the last map is 13x13, and its linear layer weighs every cell of that map.
"""

from torch import nn

from model.networks.registry import Wanted, register

SLOPE = 0.1
"""Of LeakyReLU below zero."""
STEM = (8, 16)
STAGES = (32, 64, 128, 256)


def _convolution(before: int, after: int, kernel: int = 3) -> list[nn.Module]:
    return [
        # One pixel around 1x1 convolutions too, as published.
        nn.Conv2d(before, after, kernel, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.LeakyReLU(SLOPE, inplace=True),
    ]


def _triple(before: int, after: int) -> list[nn.Module]:
    return [
        *_convolution(before, after),
        *_convolution(after, before, kernel=1),
        *_convolution(before, after),
    ]


@register("darkcovidnet", flattens=True)
def darkcovidnet(wanted: Wanted) -> nn.Module:
    """Return the convolutions; the last has one channel per class and ends in ReLU, then batch norm."""
    layers: list[nn.Module] = []
    before = 3
    for after in STEM:
        layers += [*_convolution(before, after), nn.MaxPool2d(2)]
        before = after
    for after in STAGES:
        layers += [*_triple(before, after), nn.MaxPool2d(2)]
        before = after
    del layers[-1]
    layers += [*_convolution(256, 128, kernel=1), *_convolution(128, 256)]
    layers += [nn.Conv2d(256, wanted.outputs, 3, padding=1, bias=False), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.BatchNorm2d(wanted.outputs))
