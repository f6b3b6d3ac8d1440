"""A network whose weights are made random from the head down, to see whether its maps notice.

Adebayo et al. 2018 (arXiv:1810.03292): a map that stays as it was shows the film, not what was learned.
"""

import copy
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from model.network import FilmNetwork

STAGES = 6
"""The heads first, then the backbone in so many parts less one, the last layers first."""


def cascade(network: FilmNetwork, batch_NCHW: Tensor, seed: int = 0) -> Iterator[tuple[str, FilmNetwork]]:
    """Yield ever more random copies of a network, each with the name of the last part that was made random.

    Weights are drawn anew with the mean and deviation of the trained ones. Means and deviations of batch
    norms are then taken from the films: with the old ones signals would fade or explode, and the map would
    change for that reason alone.

    Parameters
    ----------
    network
        The network; it stays as it is.
    batch_NCHW
        Films for the batch norms.
    seed
        Seed of the weights.
    """
    random = copy.deepcopy(network).eval()
    generator = torch.Generator().manual_seed(seed)
    norms: list[nn.BatchNorm2d] = []
    for name, layers in parts(random):
        for layer in layers:
            _draw(layer, generator)
        norms += [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
        _settle(random, norms, batch_NCHW)
        yield name, random


def parts(network: FilmNetwork) -> list[tuple[str, Sequence[nn.Module]]]:
    """Return the layers with weights, from the heads to the first layer, in at most `STAGES` parts."""
    layers = [m for m in network.backbone.modules() if next(m.parameters(recurse=False), None) is not None]
    layers.reverse()
    count = min(STAGES - 1, len(layers))
    cuts = [round(len(layers) * k / count) for k in range(count + 1)]
    found: list[tuple[str, Sequence[nn.Module]]] = [("heads", [network.heads])]
    for number, (start, end) in enumerate(itertools.pairwise(cuts), 1):
        found.append((f"heads and last {number}/{count} of the layers", layers[start:end]))
    return found


def _draw(layer: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for weights in layer.parameters(recurse=False):
            mean, deviation = weights.mean(), weights.std(correction=0)
            weights.copy_(torch.randn(weights.shape, generator=generator) * deviation + mean)


def _settle(network: FilmNetwork, norms: Sequence[nn.BatchNorm2d], batch_NCHW: Tensor) -> None:
    """Take the means and deviations of random batch norms from the films."""
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    if norms:
        with torch.no_grad():
            network.features(batch_NCHW)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
        norm.eval()
