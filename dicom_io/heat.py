"""A heat map in colours, its colour scale, and the outline of what it highlights.

Shapes: H, W are rows and columns; a trailing 3 is red, green, blue; points_N2 are x and y of N points.

The colours run from red to yellow. Laid over grey at partial opacity, as they are here, their steps are told
apart with any kind of colour vision, which those of viridis are not: its dark half then looks like grey to
who sees no red or no green. Nothing is stretched per film: a value has one colour on every film.
"""

from functools import cache
from typing import Final

import matplotlib
import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_io.errors import InvalidResult
from dicom_io.lettering import WHITE, font

OUTLINE_LEVEL: Final = 0.25
"""Map value from which a region is outlined. The scale ends at the strongest films of the validation, so
that half of it would leave most positive films without a region."""
MOST_OUTLINES: Final = 12
"""Most outlines of one film, largest first: a map of speckles is no drawing."""

_STRONGEST: Final = 0.55
"""Most opacity of the overlay: the film stays visible below it."""
_FIRST_VISIBLE: Final = 0.1
"""Map values up to here leave the film as it is."""
_FULL: Final = 0.6
"""Map values from here on have the strongest opacity."""
_OUTLINE_GRID: Final = 192
"""Longest side of the grid on which outlines are sought: finer than any network's map."""
_MOST_POINTS: Final = 1000
"""Most points of an outline. A Graphic Data of VR FL holds 65,534 bytes (PS3.5 7.1.2), 8191 points."""


def require_finite(name: str, array_HW: NDArray[np.float32]) -> None:
    """Raise InvalidResult unless an array has rows and columns, and finite values alone.

    Parameters
    ----------
    name : str
        What the message calls it.
    array_HW : NDArray[np.float32]
        The image or map.
    """
    if array_HW.ndim != 2 or array_HW.size == 0:
        raise InvalidResult(f"{name}: expected rows and columns, got shape {array_HW.shape}")
    if not np.isfinite(array_HW).all():
        raise InvalidResult(f"{name}: expected finite values, got some that are not")


def blend(
    image_HW: NDArray[np.float32], cam_HW: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return film and map at one size, blended in whole numbers for speed.

    Parameters
    ----------
    image_HW : NDArray[np.float32], shape (rows, cols)
        Displayed grey values 0-1.
    cam_HW : NDArray[np.float32], any shape
        Map on the fixed scale 0-1, covering the film's extent.
    size : tuple[int, int]
        Columns and rows wanted.

    Returns
    -------
    NDArray[np.uint8], shape (H, W, 3)
        A map value v colours the film by autumn(v) with an opacity that grows from 0 at v = 0.1 to 0.55 at
        v = 0.6.
    """
    heat = Image.fromarray(_to_uint8(cam_HW)).resize(size, Image.Resampling.BILINEAR)
    return _mix(np.asarray(grey_picture(image_HW, size)), np.asarray(heat))


def grey_picture(image_HW: NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    """Return the film alone at a size.

    Parameters
    ----------
    image_HW : NDArray[np.float32], shape (rows, cols)
        Displayed grey values 0-1.
    size : tuple[int, int]
        Columns and rows wanted.
    """
    return Image.fromarray(_to_uint8(image_HW)).resize(size, Image.Resampling.BILINEAR)


def draw_scale(picture: Image.Image, place: tuple[int, int], height: int, unit: int) -> None:
    """Draw the colours as they look over mid-grey, with their numbers.

    Parameters
    ----------
    picture : Image.Image
        Drawn upon.
    place : tuple[int, int]
        Left and top of the ramp; its title stands above, its numbers on its right.
    height : int
        Height of the ramp.
    unit : int
        Height of the text, and width of the ramp.
    """
    draw, (left, top) = ImageDraw.Draw(picture), place
    ramp_HW = np.repeat(np.linspace(255, 0, height).astype(np.uint8)[:, None], unit, axis=1)
    picture.paste(Image.fromarray(_mix(np.full_like(ramp_HW, 128), ramp_HW)), (left, top))
    draw.rectangle((left - 1, top - 1, left + unit, top + height), outline=WHITE)
    for tick in range(6):
        y = top + round((height - 1) * (1 - tick / 5))
        draw.line((left + unit, y, left + unit + unit // 3, y), fill=WHITE)
        draw.text((left + round(unit * 1.6), y), f"{tick / 5:.1f}", fill=WHITE, font=font(unit), anchor="lm")
    draw.text((left, top - unit), "map", fill=WHITE, font=font(unit), anchor="ls")


def outline(
    cam_HW: NDArray[np.float32], rows: int, columns: int, level: float = OUTLINE_LEVEL
) -> list[NDArray[np.float64]]:
    """Return the closed outlines of the regions in which a map reaches a level.

    Parameters
    ----------
    cam_HW : NDArray[np.float32], any shape
        Map on the fixed scale 0-1, covering the film's extent.
    rows, columns : int
        Size of the film in pixels.
    level : float
        Map value of the outline.

    Returns
    -------
    list[NDArray[np.float64]]
        Each points_N2 in pixels of the film: 0, 0 is the upper left corner of the first pixel, so that a
        point lies within 0-columns, 0-rows (PS3.3 C.10.5.1.2, units PIXEL). First and last point are the
        same. At most `MOST_OUTLINES`, largest area first; empty when the map stays below the level.

    Notes
    -----
    The map is enlarged as `blend` enlarges it, so that outline and colours agree.
    """
    tall, wide = (max(2, round(_OUTLINE_GRID * side / max(cam_HW.shape))) for side in cam_HW.shape)
    enlarged = Image.fromarray(cam_HW.astype(np.float32)).resize((wide, tall), Image.Resampling.BILINEAR)
    # A frame below the level closes a region at the edge of the film.
    framed_HW = np.pad(np.asarray(enlarged, np.float64), 1, mode="edge")
    framed_HW = np.pad(framed_HW, 1, constant_values=min(0.0, level) - 1.0)
    y_H, x_W = _places(tall, rows), _places(wide, columns)
    lines = contour_generator(x_W, y_H, framed_HW).lines(level)
    closed = [np.clip(np.asarray(line, np.float64), 0.0, (columns, rows)) for line in lines]
    closed.sort(key=_area, reverse=True)
    return [_thinned(points_N2) for points_N2 in closed[:MOST_OUTLINES] if _area(points_N2) > 0.0]


def _places(cells: int, pixels: int) -> NDArray[np.float64]:
    """Return where the centres of cells lie in pixels, between the film's edges, each edge twice."""
    centres_N = (np.arange(cells) + 0.5) * (pixels / cells)
    tiny = pixels * 1e-9  # the frame must have some width; points on it are drawn back to the edge
    return np.concatenate([[-tiny, 0.0], centres_N, [pixels, pixels + tiny]])


def _area(points_N2: NDArray[np.float64]) -> float:
    x_N, y_N = points_N2.T
    return abs(float(np.sum(x_N[:-1] * y_N[1:] - x_N[1:] * y_N[:-1]))) / 2.0


def _thinned(points_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return every n-th point, so that at most `_MOST_POINTS` are left, and the first again as last."""
    step = -(-(len(points_N2) - 1) // (_MOST_POINTS - 1))
    return np.concatenate([points_N2[:-1:step], points_N2[:1]])


@cache
def _colours() -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return the table of the overlay: 256 premultiplied colours x 3 and 256 weights of the film, of 256."""
    values = np.linspace(0.0, 1.0, 256)
    opacity = _STRONGEST * np.clip((values - _FIRST_VISIBLE) / (_FULL - _FIRST_VISIBLE), 0.0, 1.0)
    rgb = matplotlib.colormaps["autumn"](values)[:, :3]
    premultiplied = np.rint(rgb * 255.0 * opacity[:, None] * 256.0).astype(np.uint16)
    return premultiplied, np.rint((1.0 - opacity) * 256.0).astype(np.uint16)


def _mix(grey_HW: NDArray[np.uint8], heat_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    premultiplied, weights = _colours()
    film_HW = grey_HW * weights[heat_HW]
    picture_HW3 = np.empty((*grey_HW.shape, 3), dtype=np.uint8)
    for channel in range(3):
        picture_HW3[..., channel] = (film_HW + premultiplied[:, channel][heat_HW]) >> 8
    return picture_HW3


def _to_uint8(values_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    scaled_HW = np.clip(values_HW, 0.0, 1.0) * np.float32(255.0) + np.float32(0.5)
    return scaled_HW.astype(np.uint8)
