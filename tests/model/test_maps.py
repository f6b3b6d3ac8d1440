"""Every map explains log P(COVID-19); each is held to its library or to a plain computation."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.visualize import GradCAM, GradCAMpp
from torch import Tensor, nn

from model.cam import raw_cam
from model.config import Config
from model.maps import METHODS, method
from model.maps.gradients import CELLS, STEPS
from model.maps.score import LogProbability, LogProbabilityOfFeatures
from model.network import FilmNetwork, build_network

SIDE_PX = 64


@pytest.fixture
def batch() -> Tensor:
    return torch.randn(3, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def both_signs(network: FilmNetwork) -> FilmNetwork:
    """Weights of both signs, so that parts of the map speak against COVID-19 and are cut off."""
    with torch.no_grad():
        network.heads.weight.normal_(0.0, 0.05, generator=torch.Generator().manual_seed(0))
    return network


class ProductOfAnswers(nn.Module):
    """log P(COVID-19) written once more, as the sum of the logs of the answers."""

    def __init__(self, network: FilmNetwork) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, batch_NCHW: Tensor) -> Tensor:
        return torch.sigmoid(self.network(batch_NCHW)).log().sum(dim=1, keepdim=True)


def by_monai(kind: Callable[..., GradCAM], network: FilmNetwork, batch: Tensor) -> Tensor:
    peer = kind(
        ProductOfAnswers(network),
        "network.last_map",
        upsampler=lambda size: nn.Identity(),
        postprocessing=lambda x: x,
    )
    return torch.cat([peer(x=film[None], class_idx=0) for film in batch])[:, 0]


def test_the_served_map_equals_monais_grad_cam(both_signs: FilmNetwork, batch: Tensor) -> None:
    theirs = by_monai(GradCAM, both_signs, batch)

    features = both_signs.features(batch)
    ours = raw_cam(both_signs, features, both_signs.classify(features))
    named = np.stack([method("gradcam").explain(both_signs, film) for film in batch])

    assert theirs.max().item() > 1e-3, "an empty map would prove nothing"
    assert (theirs == 0).any(), "without a cell cut off the cutting would go untested"
    torch.testing.assert_close(ours, theirs, atol=1e-4 * theirs.max().item(), rtol=1e-4)
    np.testing.assert_allclose(named, ours.detach().numpy(), atol=1e-6)


def test_grad_cam_plus_plus_equals_monais_on_the_whole_network(
    both_signs: FilmNetwork, batch: Tensor
) -> None:
    theirs = by_monai(GradCAMpp, both_signs, batch).detach().numpy()

    ours = np.stack([method("gradcam++").explain(both_signs, film) for film in batch])

    assert theirs.max() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * theirs.max(), rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_map_leaves_the_network_as_it_was(name: str, network: FilmNetwork, batch: Tensor) -> None:
    method(name).explain(network, batch[0])

    assert not [m for m in network.modules() if m._forward_hooks or m._backward_hooks]
    assert not [m for m in network.modules() if m.training], "batch norm would learn from the films"


def test_occlusion_equals_a_plain_loop(network: FilmNetwork, batch: Tensor) -> None:
    film, score = batch[0], LogProbability(network)
    side, step = SIDE_PX // 5, (SIDE_PX // 5) // 2
    corners = sorted({min(n * step, SIDE_PX - side) for n in range(SIDE_PX // step + 1)})
    total, times = np.zeros((SIDE_PX, SIDE_PX)), np.zeros((SIDE_PX, SIDE_PX))
    with torch.no_grad():
        for top in corners:
            for left in corners:
                hidden = film.clone()
                hidden[:, top : top + side, left : left + side] = film.mean()
                here = np.s_[top : top + side, left : left + side]
                total[here] += float(score(film[None])) - float(score(hidden[None]))
                times[here] += 1

    found = method("occlusion").explain(network, film)

    assert np.abs(found).max() > 1e-4
    np.testing.assert_allclose(found, total / times, atol=1e-5)


def test_integrated_gradients_equal_gauss_and_legendres_sum(network: FilmNetwork, batch: Tensor) -> None:
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    gradient = torch.zeros_like(batch[0])
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        point = (float(node) * batch[:1]).requires_grad_()
        LogProbability(network)(point).sum().backward()
        assert point.grad is not None
        gradient += float(weight) * point.grad[0]
    parts = (gradient * batch[0]).sum(dim=0).reshape(CELLS, 2, CELLS, 2).sum(dim=(1, 3)).numpy()

    found = method("integrated-gradients").explain(network, batch[0])

    assert np.abs(parts).max() > 1e-4
    np.testing.assert_allclose(found, parts, atol=1e-3 * np.abs(parts).max())


@pytest.mark.parametrize("name", METHODS)
def test_every_map_is_float32_and_negative_only_where_its_row_says_so(
    name: str, both_signs: FilmNetwork, batch: Tensor
) -> None:
    found = method(name).explain(both_signs, batch[0])

    assert found.dtype == np.float32
    assert found.ndim == 2
    assert (found < 0).any() == METHODS[name].signed


def test_an_unknown_map_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"unknown map 'lime', expected one of .*gradcam"):
        method("lime")


def test_classes_are_explained_by_the_log_softmax_of_covid(small_config: Config, batch: Tensor) -> None:
    heads = (
        replace(small_config.heads[0], name="rest", positive=("normal",), negative=("covid",), sources=()),
        replace(small_config.heads[1], name="covid", positive=("covid",), negative=("normal",), sources=()),
    )
    network = build_network(replace(small_config, heads=heads, link="softmax")).eval()
    with torch.no_grad():
        logits = network(batch)
        features = network.features(batch)

        torch.testing.assert_close(
            LogProbability(network)(batch), torch.softmax(logits, dim=1)[:, 1:].log(), atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(
            LogProbabilityOfFeatures(network)(features), LogProbability(network)(batch), atol=1e-5, rtol=1e-5
        )
