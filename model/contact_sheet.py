"""A picture of what training sees: each film as it is judged, and beside it random changes of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from model import data
from model.config import Config
from model.transforms import IMAGE, evaluation_transform, training_transform

COLUMNS = 8
GAP_PX = 4


def contact_sheet(
    config: Config, folder: Path, films: Sequence[data.Film], path: Path, rows: int = 6
) -> None:
    """Write a PNG: a row per film, first without chance, then `COLUMNS` - 1 draws of the augmentation.

    Parameters
    ----------
    config
        Whose transforms are shown.
    folder
        The films' paths are relative to it.
    films
        Of these, films of as many labels as possible are taken.
    path
        The picture.
    rows
        Number of films.

    Raises
    ------
    dicom_io.errors.UnreadablePixels
        If a film cannot be read.
    """
    plain = evaluation_transform(config.transforms, from_path=True)
    changed = training_transform(config.transforms)
    changed.set_random_state(config.schedule.seed)
    chosen = _varied(films, rows)
    side = config.transforms.input_px + GAP_PX
    sheet_HW = np.full((len(chosen) * side, COLUMNS * side), 255, np.uint8)
    for row, film in enumerate(chosen):
        for column in range(COLUMNS):
            transform = plain if column == 0 else changed
            film_HW = transform({IMAGE: folder / film.path})[IMAGE][0].numpy()
            # Inputs have deviation 0.5; three deviations either way are black and white.
            grey_HW = np.clip(127.5 + film_HW * 85, 0, 255).astype(np.uint8)
            top, left = row * side, column * side
            sheet_HW[top : top + side - GAP_PX, left : left + side - GAP_PX] = grey_HW
    Image.fromarray(sheet_HW).save(path)


def _varied(films: Sequence[data.Film], rows: int) -> list[data.Film]:
    """Return films of the labels in turn."""
    labels = sorted({film.label for film in films})
    of_label = {label: [film for film in films if film.label == label] for label in labels}
    turns = max(len(members) for members in of_label.values())
    dealt = [
        of_label[label][turn] for turn in range(turns) for label in labels if turn < len(of_label[label])
    ]
    return dealt[:rows]
