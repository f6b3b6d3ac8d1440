"""A film that is to be judged is read in one way, and in words where it cannot be: also without training."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_io.errors import UnreadablePixels
from model.predict import MIN_SIDE_PX
from model.transforms import load_named


def read_film(folder: Path, path: str) -> NDArray[np.float32]:
    """Read a film that is to be judged.

    Raises
    ------
    dicom_io.errors.UnreadablePixels
        If it cannot be read, or has a side of fewer than `MIN_SIDE_PX`; the message names the file.
    """
    image_HW = load_named(folder / path, path)
    if min(image_HW.shape) < MIN_SIDE_PX:
        rows, columns = image_HW.shape
        raise UnreadablePixels(
            f"{path}: expected a film of at least {MIN_SIDE_PX} px a side, came {columns} x {rows}; "
            "leave it out"
        )
    return image_HW
