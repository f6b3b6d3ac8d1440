"""``python -m model.phantom``: films that no patient is in, to try everything on a machine without data.

They look like a chest from afar: two dark lungs with ribs, a heart, a diaphragm, a spine. Pneumonia is one
dense patch in one lung, COVID-19 several faint ones in the outer lower parts of both. Nothing medical
follows from them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.command_edge import one_line_errors
from model.manifest import Film
from model.sources import check_overwriting, write_manifest

LABELS = ("covid", "pneumonia", "normal")
SIDE_PX = 256
FILMS_PER_PATIENT = 2

Grid = NDArray[np.float64]


def draw(label: str, patient: int, film: int = 0, side_px: int = SIDE_PX) -> NDArray[np.float32]:
    """Return a phantom, float32 ``image_HW`` in 0-1, air dark; the same arguments give the same film.

    Parameters
    ----------
    label
        One of `LABELS`.
    patient
        Number that decides the anatomy.
    film
        Number that decides position, exposure and noise.
    side_px
        Side of the square film.
    """
    body = np.random.default_rng([patient, 1])
    shot = np.random.default_rng([patient, film, 2])
    y, x = np.mgrid[0:side_px, 0:side_px] / side_px
    x = x + shot.normal(0, 0.015)
    y = y + shot.normal(0, 0.015)
    image_HW = _anatomy(x, y, body)
    image_HW += _opacities(label, x, y, np.random.default_rng([patient, film, 3]))
    exposure = shot.uniform(0.8, 1.15)
    noise = shot.normal(0, 0.02, image_HW.shape)
    return ((image_HW + noise) * exposure).clip(0, 1).astype(np.float32)


def _blob(
    x: Grid, y: Grid, centre: tuple[float, float], radii: tuple[float, float], edge: float = 8.0
) -> Grid:
    """Return 1 in an ellipse, falling to 0 outside, the sharper the larger `edge`."""
    distance = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2
    soft: Grid = 1 / (1 + np.exp(np.clip(edge * (distance - 1), -50, 50)))
    return soft


def _anatomy(x: Grid, y: Grid, body: np.random.Generator) -> Grid:
    width, tall = body.uniform(0.15, 0.18), body.uniform(0.3, 0.36)
    image = 0.12 + 0.55 * _blob(x, y, (0.5, 0.6), (0.46, 0.62))
    lungs = _blob(x, y, (0.29, 0.47), (width, tall)) + _blob(x, y, (0.71, 0.47), (width, tall))
    ribs = 0.05 * np.sin(2 * np.pi * body.uniform(8, 11) * (y + 0.5 * (x - 0.5) ** 2))
    image -= (0.42 - ribs) * np.clip(lungs, 0, 1)
    image += 0.3 * _blob(x, y, (0.56, 0.62), (body.uniform(0.12, 0.16), 0.17))
    image += 0.22 * _blob(x, y, (0.5, 0.5), (0.05, 0.5))
    dome = 0.8 + 0.5 * (np.abs(x - 0.5) - 0.22) ** 2
    image += 0.25 / (1 + np.exp(np.clip(-60 * (y - dome), -50, 50)))
    return image


def _opacities(label: str, x: Grid, y: Grid, chance: np.random.Generator) -> Grid:
    image = np.zeros_like(x)
    if label == "pneumonia":
        centre = (0.29 if chance.random() < 0.5 else 0.71, chance.uniform(0.35, 0.65))
        image += chance.uniform(0.25, 0.35) * _blob(x, y, centre, (0.1, 0.1), edge=3.0)
    if label == "covid":
        for side in (0.22, 0.78):
            for _ in range(int(chance.integers(2, 5))):
                centre = (side + chance.normal(0, 0.03), chance.uniform(0.5, 0.75))
                radius = chance.uniform(0.04, 0.07)
                image += chance.uniform(0.1, 0.18) * _blob(x, y, centre, (radius, radius), edge=3.0)
    return image


def write_phantoms(out: Path, films: int, seed: int = 0) -> Path:
    """Write phantoms as PNG and their manifest; return the manifest.

    Classes take turns, and every patient has `FILMS_PER_PATIENT` films.

    Raises
    ------
    ValueError
        If fewer films are asked for than there are classes.
    FileExistsError
        If another manifest is in `out`, or files with names of phantoms that no such manifest lists: nothing
        is written then.
    """
    if films < len(LABELS):
        raise ValueError(f"at least {len(LABELS)} films, one of each class, came {films}")
    manifest, rows = out / "manifest.csv", []
    for number in range(films):
        patient = number // FILMS_PER_PATIENT
        label = LABELS[patient % len(LABELS)]
        rows.append(Film(f"{label}/{number:05d}.png", label, f"phantom-{patient}", "phantom", "PA"))
    check_overwriting(manifest, rows)
    theirs = [] if manifest.exists() else [film.path for film in rows if (out / film.path).exists()]
    if theirs:
        raise FileExistsError(f"{out / theirs[0]} is there already: move it away, or give another --out")
    for number, film in enumerate(rows):
        image_HW = draw(
            film.label, seed * 1_000_003 + number // FILMS_PER_PATIENT, number % FILMS_PER_PATIENT
        )
        (out / film.path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image_HW * 255).astype(np.uint8)).save(out / film.path)
    write_manifest(manifest, rows)
    return manifest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.phantom", description="Draw phantom films.")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for films and manifest"
    )
    parser.add_argument("--films", type=int, default=600, metavar="N", help="number of films (600)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the drawing (0)")
    options = parser.parse_args(arguments)
    with one_line_errors(parser):
        manifest = write_phantoms(options.out, options.films, options.seed)
    print(f"{options.films} phantoms, manifest {manifest}. They teach how to train, nothing about medicine.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
