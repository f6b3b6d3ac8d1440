"""Films with a part hidden or a letter burned in; the rest stays as it was read."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Film = NDArray[np.float32]

BORDER = 0.1
"""Width of the border on each side, as part of that side."""
CORNER = 0.2
"""Side of the corners in which marks are burned in, as part of the film's."""
LETTER, LETTER_PART = "L", 0.1
"""The mark that is burned in, the commonest of all, and its height as part of the shorter side."""


def whole(image_HW: Film) -> Film:
    """Return the film itself."""
    return image_HW


def border_only(image_HW: Film) -> Film:
    """Return the film with its centre hidden: filled with the mean of the border, so that nothing is left."""
    inside_HW = _centre(image_HW)
    return np.where(inside_HW, image_HW[~inside_HW].mean(), image_HW).astype(np.float32)


def centre_only(image_HW: Film) -> Film:
    """Return the film with its border hidden: filled with the mean of the centre."""
    inside_HW = _centre(image_HW)
    return np.where(inside_HW, image_HW, image_HW[inside_HW].mean()).astype(np.float32)


def corners_masked(image_HW: Film) -> Film:
    """Return the film with each corner filled with its median, which a letter hardly moves."""
    changed_HW = image_HW.copy()
    tall, wide = (max(1, round(CORNER * side)) for side in image_HW.shape)
    for rows in (slice(None, tall), slice(-tall, None)):
        for columns in (slice(None, wide), slice(-wide, None)):
            changed_HW[rows, columns] = np.median(image_HW[rows, columns])
    return changed_HW


def letter_added(image_HW: Film) -> Film:
    """Return the film with a white letter burned into its upper right corner."""
    rows, columns = image_HW.shape
    height = max(8, round(LETTER_PART * min(rows, columns)))
    mask = Image.new("L", (columns, rows))
    place = (columns - height // 2, height // 2)
    ImageDraw.Draw(mask).text(place, LETTER, fill=255, font=ImageFont.load_default(height), anchor="rt")
    share_HW = np.asarray(mask, np.float32) / np.float32(255)
    lettered_HW: Film = (image_HW * (1 - share_HW) + share_HW).astype(np.float32)
    return lettered_HW


def letter_alone(image_HW: Film) -> Film:
    """Return the film with its own marks hidden, as `corners_masked` does, and a letter burned in."""
    return letter_added(corners_masked(image_HW))


def _centre(image_HW: Film) -> NDArray[np.bool_]:
    inside_HW = np.zeros(image_HW.shape, bool)
    down, right = (max(1, round(BORDER * side)) for side in image_HW.shape)
    inside_HW[down:-down, right:-right] = True
    return inside_HW


CHANGES: dict[str, Callable[[Film], Film]] = {
    "whole": whole,
    "border_only": border_only,
    "centre_only": centre_only,
    "corners_masked": corners_masked,
    "letter_alone": letter_alone,
}
"""What is done to each film, by name."""
