"""``python -m model.explain``: maps of where the network looked, over the films, on a stated scale."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model import own_network
from model.checkpoint import RELEASE, load_model
from model.command_edge import one_line_errors
from model.film_reading import read_film
from model.manifest import EXPECTED
from model.maps import GRADCAM, METHODS
from model.maps.explainer import Explainer
from model.overlay import Scale, picture


def scale_of(explainer: Explainer, options: argparse.Namespace) -> Callable[[NDArray[np.float32]], Scale]:
    """Return what gives each map its scale: the model's, a given or measured one, or the film's own."""
    fixed = None
    if options.scale is not None:
        if not options.scale > 0:
            raise ValueError(f"--scale must be above 0, is {options.scale}")
        fixed = Scale(options.scale, "fixed, as given")
    elif options.scale_from is not None:
        # Only this needs what evaluation needs beyond serving.
        from model.evaluate import own_split
        from model.maps.measured_scale import measured_scale

        split = own_split(explainer.model, options.model, options.scale_from)
        fixed = measured_scale(explainer, options.scale_from, split)
    elif explainer.name == GRADCAM:
        fixed = Scale(explainer.model.calibration.cam_scale, "fixed by the model, one for all films")
    return lambda map_HW: fixed or own_scale(map_HW)


def own_scale(map_HW: NDArray[np.float32]) -> Scale:
    """Return a film's own scale: the 99th percentile of its map, so that one cell does not hide the rest."""
    # An empty map has no scale; any will do.
    top = float(np.percentile(np.abs(map_HW), 99)) or float(np.abs(map_HW).max()) or 1.0
    return Scale(top, "THIS FILM'S OWN, not to be compared with other films")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(prog="python -m model.explain", description=__doc__)
    add = parser.add_argument
    add("films", nargs="+", type=Path, metavar="FILE", help="PNG, JPEG or DICOM films")
    add("--model", type=Path, default=RELEASE, metavar="DIR", help="model folder; the shipped one by default")
    add("--network-file", **own_network.OPTION)
    add("--map", choices=tuple(METHODS), default=GRADCAM, help=f"the method ({GRADCAM})")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--scale", type=float, metavar="VALUE", help="value of the strongest colour")
    scale.add_argument(
        "--scale-from", type=Path, metavar="MANIFEST",
        help=f"take the scale from films with COVID-19; {EXPECTED}",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    with one_line_errors(parser):
        own_network.enter(options.network_file)
        explainer = Explainer(load_model(options.model), options.map)
        scale = scale_of(explainer, options)
        options.out.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(options.films, 1):
            image_HW = read_film(path.parent, path.name)
            said, map_HW = explainer.judge(image_HW), explainer(image_HW)
            # Films of different folders may share a name.
            target = options.out / f"{number:03d}-{path.stem}-{options.map}.png"
            title = f"{options.map}: {said.decision}, P(COVID-19) {said.probability:.3f}"
            drawn = picture(image_HW, map_HW, scale(map_HW), title, explainer.method.unit)
            drawn.savefig(target)
            print(f"{path.name}: {said.decision}, P(COVID-19) {said.probability:.3f}, map in {target}")
            print(f"  scale {scale(map_HW).top:.4g}: {scale(map_HW).origin}")
    print("The map explains COVID-19, nothing else. For research and teaching only.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
