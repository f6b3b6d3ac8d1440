"""One film through the network, with its heat map: the served pass against `monai.visualize.GradCAM`.

    python -m benchmarks.forward_and_map [--model DIR] [--films N] [--threads N]

MONAI runs the same network in PyTorch on the processor; its map before enlargement must be ours within 1e-3.
All get the same threads and take turns film by film, so that neighbours on the machine disturb all alike;
the median of the films' ratios is told. The served pass also computes the summary that the gate asks.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.visualize import GradCAM
from numpy.typing import NDArray
from torch import Tensor, nn

from model import processor
from model.backends import TOLERANCE, Backend, OpenvinoBackend, PytorchBackend
from model.checkpoint import RELEASE, load_model
from model.network import FilmNetwork
from model.one_pass import OnePass
from model.phantom import LABELS, draw
from model.transforms import IMAGE, evaluation_transform

REACH = 8.0
WARM_UP = 3


class LogProbability(nn.Module):
    """The network with log P(COVID-19) as its one output, which is what our map explains."""

    def __init__(self, network: FilmNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch_NCHW: Tensor) -> Tensor:
        """Return ``log_p_N1``."""
        logits_NK = self.network(batch_NCHW)
        if self.network.covid_class is not None:
            return torch.log_softmax(logits_NK, dim=1)[:, self.network.covid_class, None]
        return nn.functional.logsigmoid(logits_NK).sum(dim=1, keepdim=True)


def monai_map(network: FilmNetwork, cam_scale: float) -> Callable[[Tensor], NDArray[np.float32]]:
    """Return MONAI's Grad-CAM at the resolution of the last feature map, on our scale."""
    cam = GradCAM(
        LogProbability(network),
        target_layers="network.last_map",
        # By default MONAI inverts and stretches a map, and enlarges it to the film.
        postprocessing=lambda map_N1HW: map_N1HW,
        upsampler=lambda _size: lambda map_N1HW: map_N1HW,
    )

    def compute(film_NCHW: Tensor) -> NDArray[np.float32]:
        map_N1HW = cam(film_NCHW, class_idx=0).detach().numpy()
        return (map_N1HW[:, 0] / cam_scale).clip(0.0, 1.0)

    return compute


def timed(
    action: Callable[[Tensor], NDArray[np.float32]], film_NCHW: Tensor
) -> tuple[float, NDArray[np.float32]]:
    """Return milliseconds and result of one call."""
    started = time.perf_counter()
    result = action(film_NCHW)
    return 1000 * (time.perf_counter() - started), result


def maps_of(backend: Backend) -> Callable[[Tensor], NDArray[np.float32]]:
    """Return the map of a backend's pass."""
    return lambda film_NCHW: backend(film_NCHW).map_NHW


def main() -> None:
    """Print the times, the ratios and how equal the maps are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=RELEASE, metavar="DIR")
    parser.add_argument("--films", type=int, default=30, metavar="N")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    options = parser.parse_args()
    processor.prepare(options.threads)
    model = load_model(options.model)
    scale, side = model.calibration.cam_scale, model.config.transforms.input_px
    one_pass = OnePass(model.network, scale)
    ways = {
        "monai.visualize.GradCAM": monai_map(load_model(options.model).network, scale),
        "served, openvino-cpu": maps_of(OpenvinoBackend(one_pass, side, options.threads)),
        "served, pytorch-cpu": maps_of(PytorchBackend(one_pass)),
    }
    transform = evaluation_transform(model.config.transforms)
    times: dict[str, list[float]] = {name: [] for name in ways}
    furthest, highest = 0.0, 0.0
    for number in range(-WARM_UP, options.films):
        film_NCHW = transform({IMAGE: draw(LABELS[number % 3], abs(number))})[IMAGE][None].contiguous()
        taken = {name: timed(action, film_NCHW) for name, action in ways.items()}
        peer, *ours = (map_NHW for _, map_NHW in taken.values())
        highest = max(highest, float(peer.max()))
        furthest = max(furthest, *(float(np.abs(map_NHW - peer).max()) for map_NHW in ours))
        for name, (ms, _) in taken.items():
            times[name] += [ms] if number >= 0 else []
    show(times, furthest, highest, f"{model.config.network.name}, {side} px, {options.threads} threads")


def show(times: dict[str, list[float]], furthest: float, highest: float, what: str) -> None:
    """Print one line per way, and the verdict."""
    (peer, peers), *ours = times.items()
    load = os.getloadavg()[0]
    print(f"forward and map of one film: {what}, {len(peers)} films, load of the machine {load:.1f}")
    print(f"  {peer:<26}{statistics.median(peers):8.1f} ms")
    for name, own in ours:
        ratio = statistics.median(theirs / mine for theirs, mine in zip(peers, own, strict=True))
        verdict = f"  (to reach: {REACH:.0f}x)" if "openvino" in name else ""
        print(f"  {name:<26}{statistics.median(own):8.1f} ms  {ratio:5.1f}x{verdict}")
    equal = "equal" if furthest <= TOLERANCE else "NOT EQUAL"
    print(f"  maps {equal}: largest difference {furthest:.1e} of a scale of 1, largest value {highest:.2f}")
    if furthest > TOLERANCE:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
