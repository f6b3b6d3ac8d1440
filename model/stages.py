"""What a network sees on its way: mean and deviation of each channel, at the end of each resolution."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from model.network import FilmNetwork

PREFERRED_LEVEL = 2
"""How deep a block lies in a backbone as a rule: ``layer1.0``, ``_blocks.3``, ``features.denseblock2``."""


class Stages:
    """Watches a network; after each pass it holds a summary of what the pass saw.

    Early stages know grain and edges, late ones shapes; what is no film differs in either. A summary costs
    next to nothing beside the pass.

    Parameters
    ----------
    network
        The network; hooks stay in it as long as it lives.
    """

    def __init__(self, network: FilmNetwork) -> None:
        self.names = stage_names(network)
        self._seen: dict[str, Tensor] = {}
        modules = dict(network.backbone.named_modules())
        for name in self.names:
            modules[name].register_forward_hook(self._watcher(name))

    def take(self) -> Tensor:
        """Return ``summary_NF`` of the last pass, and forget it.

        F counts twice the channels of all stages: means, then deviations, stage by stage.
        """
        summary_NF = torch.cat([self._seen[name] for name in self.names], dim=1)
        self._seen.clear()
        return summary_NF

    def _watcher(self, name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def watch(_module: nn.Module, _inputs: object, output_NCHW: Tensor) -> None:
            # At once: a layer that works in place may overwrite the map.
            mean_NC11 = output_NCHW.mean(dim=(2, 3), keepdim=True)
            variance_NC = (output_NCHW - mean_NC11).square().mean(dim=(2, 3))
            self._seen[name] = torch.cat([mean_NC11.flatten(1), variance_NC.sqrt()], dim=1)

        return watch


def stage_names(network: FilmNetwork) -> tuple[str, ...]:
    """Return the modules of the backbone that end a resolution, in their order.

    Of the modules that run once and give a map, the last at each halving of the side; blocks at
    `PREFERRED_LEVEL` go before whole stacks of blocks.
    """
    calls: list[tuple[str, int]] = []
    hooks = [
        module.register_forward_hook(_recorder(name, calls))
        for name, module in network.backbone.named_modules()
        if 0 < _level(name) <= PREFERRED_LEVEL
    ]
    was_training, side = network.training, network.input_px
    with torch.no_grad():
        network.eval().features(torch.zeros(1, 3, side, side))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    names = [name for name, _ in calls]
    last: dict[int, str] = {}
    for name, rows in calls:
        halvings = round(math.log2(side / rows))
        if names.count(name) == 1 and _level(name) >= _level(last.get(halvings, "")):
            last[halvings] = name
    return tuple(last[halvings] for halvings in sorted(last) if halvings > 0)


def _level(name: str) -> int:
    return name.count(".") + 1 if name else 0


def _recorder(name: str, calls: list[tuple[str, int]]) -> Callable[[nn.Module, object, object], None]:
    def record(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            calls.append((name, output.shape[2]))

    return record
