"""Films per second of a training step, and the part of it that the augmentation takes.

    python -m benchmarks.training_speed [--network NAME] [--px 160 224] [--threads N]

Times are those of the processor (all threads), so that neighbours on the machine disturb little: with one
thread and nothing else running they are the time of the clock.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from model import processor
from model.config import NetworkConfig, two_heads
from model.engines import Inferer, make_optimizer
from model.losses import make_loss
from model.network import build_network
from model.phantom import draw
from model.transforms import IMAGE, training_transform

BATCH = 16


def seconds(action: Callable[[], object], times: int) -> float:
    """Return the processor seconds of one call, the fastest of `times`."""
    action()
    taken = []
    for _ in range(times):
        started = time.process_time()
        action()
        taken.append(time.process_time() - started)
    return min(taken)


def measure(name: str, px: int, precision: str, channels_last: bool) -> float:
    """Return processor seconds per film of forward pass, backward pass and step."""
    config = two_heads()
    config = replace(
        config,
        network=NetworkConfig(name=name, pretrained=False),
        transforms=replace(config.transforms, input_px=px),
    )
    network = build_network(config)
    if not channels_last:
        network = network.to(memory_format=torch.contiguous_format)
        network.forward = lambda batch: network.classify(network.features(batch))
    optimizer, _ = make_optimizer(network, config.schedule)
    loss, inferer = make_loss(config), Inferer(precision, torch.device("cpu"))
    batch, targets = torch.randn(BATCH, 3, px, px), torch.randint(0, 2, (BATCH, 2)).float()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(inferer(batch, network), targets).backward()
        optimizer.step()

    return seconds(step, 4) / BATCH


def augmentation(px: int) -> float:
    """Return processor seconds per film of everything random and what follows it."""
    config = replace(two_heads().transforms, input_px=px)
    whole = training_transform(config)
    # What comes before the first random step is kept by the cache and not done again.
    kept = [t for t in whole.transforms if type(t).__name__ in ("Lambdad", "EnsureChannelFirstd")]
    first = next(i for i, t in enumerate(whole.transforms) if type(t).__name__ == "RandFlipd")
    assert kept
    film = {IMAGE: draw("covid", 0)}
    for transform in whole.transforms[1:first]:
        film = transform(film)

    def change() -> None:
        for _ in range(BATCH):
            made = dict(film)
            for transform in whole.transforms[first:]:
                made = transform(made)

    return seconds(change, 8) / BATCH


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="efficientnet-lite0")
    parser.add_argument("--px", type=int, nargs="+", default=[160, 224])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    processor.prepare(options.threads)
    for px in options.px:
        changed = augmentation(px)
        print(f"{px} px: augmentation {1000 * changed:.1f} ms a film")
        for layout, precision in ((False, "float32"), (True, "float32"), (True, "bf16")):
            taken = measure(options.network, px, precision, layout)
            name = "channels_last" if layout else "contiguous"
            share = changed / (changed + taken)
            print(
                f"  {name}, {precision}: step {1000 * taken:.1f} ms a film ({1 / taken:.1f} films/s a core), "
                f"augmentation {share:.0%} of the whole",
                flush=True,
            )


if __name__ == "__main__":
    main()
