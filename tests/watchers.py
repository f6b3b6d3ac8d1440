"""Networks that look at known places of a film, so that a test knows what they answer by."""

import numpy as np
import torch
from torch import Tensor, nn

from model.checkpoint import Calibration, Model
from model.config import Config, HeadConfig, NetworkConfig, TransformConfig
from model.network import build_network
from model.networks.registry import Wanted, register

SIDE_PX = 64
PLACES = {"corner": (0, 7), "left lung": (5, 1), "right lung": (5, 6), "rim": (7, 0)}
"""Cell of an 8 x 8 grid that each channel of the last map sees, as row and column."""


class Watcher(nn.Module):
    """A channel per place: how bright its cell is, more than the rest of the film."""

    def __init__(self) -> None:
        super().__init__()
        # The batch norm changes nothing; a network without weights of its own could not be made random.
        self.steady = nn.BatchNorm2d(len(PLACES))
        masks = np.zeros((len(PLACES), 8, 8), np.float32)
        for channel, place in enumerate(PLACES.values()):
            masks[channel][place] = 1
        self.register_buffer("mask_CHW", torch.from_numpy(masks))

    def forward(self, batch_NCHW: Tensor) -> Tensor:
        cells_N1HW = nn.functional.adaptive_avg_pool2d(batch_NCHW[:, :1], 8)
        seen: Tensor = self.steady(cells_N1HW * self.mask_CHW + 4 * self.mask_CHW)
        return seen


@register("watcher")
def watcher(wanted: Wanted) -> nn.Module:
    return Watcher()


def model_that_watches(*places: str, gain: float = 400.0) -> Model:
    """A model whose answer is the brightness of these places and nothing else."""
    head = HeadConfig("covid", ("covid",), ("normal",))
    config = Config(
        heads=(head,),
        network=NetworkConfig(name="watcher", pretrained=False, dropout=0.0),
        transforms=TransformConfig(film_px=SIDE_PX, input_px=SIDE_PX),
    )
    network = build_network(config).eval()
    with torch.no_grad():
        for channel, place in enumerate(PLACES):
            network.heads.weight[0, channel] = gain if place in places else 0.0
        network.heads.bias.fill_(-4 * gain / 64 * len(places))
    calibration = Calibration(
        slope=1.0, intercept=0.0, threshold=0.5, band_low=0.45, band_high=0.55, prevalence_training=0.5,
        prevalence_assumed=0.5, cam_scale=1.0, films=1, method="made up for a test",
    )  # fmt: skip
    return Model(config, calibration, network, "")
