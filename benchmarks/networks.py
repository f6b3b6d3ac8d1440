"""One film through each network that has a recipe, as it is served: parameters and milliseconds.

    python -m benchmarks.networks [--films N] [--threads N]

Weights are random, which changes no time. The networks take turns film by film, so that neighbours on the
machine disturb all alike; the median is told, and the median ratio to the released network.
"""

import argparse
import os
import statistics
from dataclasses import replace

import torch

from benchmarks.forward_and_map import WARM_UP, maps_of, timed
from model import processor
from model.backends import OpenvinoBackend
from model.config import two_heads
from model.network import build_network
from model.one_pass import OnePass
from model.studies import RECIPES, RELEASED


def main() -> None:
    """Print one line per network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=50, metavar="N")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    options = parser.parse_args()
    processor.prepare(options.threads)
    torch.manual_seed(0)
    served, about, films = {}, {}, {}
    for name, recipe in RECIPES.items():
        side = recipe.transforms.input_px
        plain = replace(recipe.network, pretrained=False)
        network = build_network(replace(two_heads(), network=plain, transforms=recipe.transforms))
        served[name] = maps_of(OpenvinoBackend(OnePass(network, 1.0), side, options.threads))
        about[name] = f"{side:4d} px {sum(part.numel() for part in network.parameters()):12,d} parameters"
        films[name] = torch.randn(1, 3, side, side)
    times: dict[str, list[float]] = {name: [] for name in RECIPES}
    for number in range(-WARM_UP, options.films):
        for name, action in served.items():
            ms, _ = timed(action, films[name])
            times[name] += [ms] if number >= 0 else []
    print(f"logits, map and summary of one film, OpenVINO, {options.threads} threads, {options.films} films")
    for name, taken in times.items():
        ratio = statistics.median(own / base for own, base in zip(taken, times[RELEASED], strict=True))
        print(f"  {name:<20}{about[name]}{statistics.median(taken):9.1f} ms {ratio:7.2f} x {RELEASED}")


if __name__ == "__main__":
    main()
