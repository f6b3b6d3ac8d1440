"""A film and its heat map → the picture that a person looks at: overlay, colour scale, banner, finding.

Shapes: H, W are rows and columns; a trailing 3 is red, green, blue. All text stands in margins around the
film, never on it.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicom_io.errors import InvalidResult
from dicom_io.findings import Finding, Presence, ResultContext

LONGEST_SIDE: Final = 2048
"""Most rows or columns of the picture, margins included."""
BANNER: Final = "RESEARCH ONLY - NOT FOR DIAGNOSIS"

_SHORTEST_LONG_SIDE: Final = 640
"""A smaller film is enlarged, else the text would be wider than the film or too small to read."""
_STRONGEST: Final = 0.55
"""Most opacity of the overlay: the film stays visible below it."""
_FIRST_VISIBLE: Final = 0.1
"""Map values up to here leave the film as it is."""
_FULL: Final = 0.6
"""Map values from here on have the strongest opacity."""
_DECISIONS: Final = {
    Presence.PRESENT: "COVID-19: PRESENT",
    Presence.ABSENT: "COVID-19: ABSENT",
    Presence.UNDETERMINED: "COVID-19: UNDETERMINED",
}
_SMALLEST_FONT_PX: Final = 6
_DECIMALS: Final = 6
"""Most decimals of a percentage: enough for a number in single precision."""
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_BLACK: Final = (0, 0, 0)
_WHITE: Final = (255, 255, 255)
_AMBER: Final = (255, 200, 60)


@dataclass(frozen=True)
class Layout:
    """Where the film and the margins lie in the picture, in pixels."""

    rows: int
    """Rows of the picture."""
    columns: int
    """Columns of the picture."""
    film_top: int
    film_left: int
    film_rows: int
    film_columns: int
    font_px: int
    """Height of the text."""


def lay_out(rows: int, columns: int) -> Layout:
    """Return the layout of the picture of a film; the film keeps its proportions.

    Parameters
    ----------
    rows, columns : int
        Size of the film in pixels.

    Returns
    -------
    Layout
        Neither side of the picture exceeds `LONGEST_SIDE`.
    """
    longest = min(max(rows, columns, _SHORTEST_LONG_SIDE), LONGEST_SIDE)
    font_px = max(14, round(longest / 62))
    top, bottom, right = round(font_px * 2.2), round(font_px * 6.4), font_px * 6
    scale = min(
        longest / max(rows, columns), (LONGEST_SIDE - top - bottom) / rows, (LONGEST_SIDE - right) / columns
    )
    film_rows, film_columns = max(1, round(rows * scale)), max(1, round(columns * scale))
    # Room for the longest line of text, also beside a very narrow film.
    width = min(max(film_columns, font_px * 30) + right, LONGEST_SIDE)
    height = top + max(film_rows, font_px * 12) + bottom
    return Layout(
        rows=height,
        columns=width,
        film_top=top,
        film_left=(width - right - film_columns) // 2,
        film_rows=film_rows,
        film_columns=film_columns,
        font_px=font_px,
    )


def render_overlay(
    image_HW: NDArray[np.float32], cam_HW: NDArray[np.float32], context: ResultContext
) -> NDArray[np.uint8]:
    """Return the film with its heat map, colour scale, warning, finding, model and time.

    Parameters
    ----------
    image_HW : NDArray[np.float32], shape (rows, cols)
        Displayed grey values 0-1, air dark.
    cam_HW : NDArray[np.float32], any shape
        Heat map on the model's fixed scale 0-1, covering the film's extent; resized bilinearly.
    context : ResultContext
        What the text says; the time is written as it stands.

    Returns
    -------
    NDArray[np.uint8], shape (H, W, 3)
        RGB, longest side at most 2048. A map value v colours the film by viridis(v) with an opacity that
        grows from 0 at v = 0.1 to 0.55 at v = 0.6; nothing is stretched per film: a negative one stays grey.

    Raises
    ------
    InvalidResult
        When an array is empty, has other than two dimensions, or holds a value that is not finite.
    """
    _require_finite("image", image_HW)
    _require_finite("heat map", cam_HW)
    layout = lay_out(image_HW.shape[0], image_HW.shape[1])
    picture = Image.new("RGB", (layout.columns, layout.rows), _BLACK)
    film_HW3 = _blend(image_HW, cam_HW, (layout.film_columns, layout.film_rows))
    picture.paste(Image.fromarray(film_HW3), (layout.film_left, layout.film_top))
    draw = ImageDraw.Draw(picture)
    _draw_banner(draw, layout)
    _draw_scale(picture, draw, layout)
    _draw_finding(draw, layout, context)
    return np.asarray(picture)


def _require_finite(name: str, array_HW: NDArray[np.float32]) -> None:
    if array_HW.ndim != 2 or array_HW.size == 0:
        raise InvalidResult(f"{name}: expected rows and columns, got shape {array_HW.shape}")
    if not np.isfinite(array_HW).all():
        raise InvalidResult(f"{name}: expected finite values, got some that are not")


@cache
def _colours() -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return the table of the overlay: 256 premultiplied colours x 3 and 256 weights of the film, of 256."""
    values = np.linspace(0.0, 1.0, 256)
    opacity = _STRONGEST * np.clip((values - _FIRST_VISIBLE) / (_FULL - _FIRST_VISIBLE), 0.0, 1.0)
    rgb = matplotlib.colormaps["viridis"](values)[:, :3]
    premultiplied = np.rint(rgb * 255.0 * opacity[:, None] * 256.0).astype(np.uint16)
    return premultiplied, np.rint((1.0 - opacity) * 256.0).astype(np.uint16)


def _blend(
    image_HW: NDArray[np.float32], cam_HW: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return film and map at `size` (columns, rows), blended in whole numbers for speed."""
    grey = Image.fromarray(_to_uint8(image_HW)).resize(size, Image.Resampling.BILINEAR)
    heat = Image.fromarray(_to_uint8(cam_HW)).resize(size, Image.Resampling.BILINEAR)
    return _mix(np.asarray(grey), np.asarray(heat))


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


def _draw_banner(draw: ImageDraw.ImageDraw, layout: Layout) -> None:
    font = _fit(draw, BANNER, layout.columns - layout.font_px, round(layout.font_px * 1.3))
    draw.text((layout.columns / 2, layout.film_top / 2), BANNER, fill=_AMBER, font=font, anchor="mm")


def _draw_scale(picture: Image.Image, draw: ImageDraw.ImageDraw, layout: Layout) -> None:
    """Draw the colours as they look over mid-grey, with their numbers, beside the film."""
    unit = layout.font_px
    available = layout.rows - layout.film_top - round(unit * 6.4)
    height = min(available, unit * 24) - unit * 2
    left = layout.columns - round(unit * 5.2)
    top = layout.film_top + (available - height) // 2
    ramp_HW = np.repeat(np.linspace(255, 0, height).astype(np.uint8)[:, None], unit, axis=1)
    picture.paste(Image.fromarray(_mix(np.full_like(ramp_HW, 128), ramp_HW)), (left, top))
    draw.rectangle((left - 1, top - 1, left + unit, top + height), outline=_WHITE)
    font = _font(unit)
    for tick in range(6):
        y = top + round((height - 1) * (1 - tick / 5))
        draw.line((left + unit, y, left + unit + unit // 3, y), fill=_WHITE)
        draw.text((left + round(unit * 1.6), y), f"{tick / 5:.1f}", fill=_WHITE, font=font, anchor="lm")
    draw.text((left, top - unit), "map", fill=_WHITE, font=font, anchor="ls")


def _draw_finding(draw: ImageDraw.ImageDraw, layout: Layout, context: ResultContext) -> None:
    line_px = round(layout.font_px * 1.45)
    top = layout.rows - round(layout.font_px * 6.1)
    for number, (text, colour) in enumerate(_lines(context)):
        font = _fit(draw, text, layout.columns - layout.font_px, layout.font_px)
        draw.text((layout.font_px // 2, top + number * line_px), text, fill=colour, font=font)


def _lines(context: ResultContext) -> list[tuple[str, tuple[int, int, int]]]:
    finding, algorithm = context.finding, context.algorithm
    return [
        (judgement(finding), _WHITE),
        (f"Model {algorithm.name} {algorithm.version}", _WHITE),
        (f"Time {context.created_at.isoformat(sep=' ', timespec='seconds')}", _WHITE),
        ("Map: Grad-CAM for COVID-19, scale fixed for the model", _WHITE),
    ]


def judgement(finding: Finding) -> str:
    """Return the finding in one line: decision, probability, threshold or abstain band."""
    decision = _DECISIONS[finding.presence]
    if finding.presence is Presence.UNDETERMINED:
        band = f"{finding.band_low * 100:.1f} - {finding.band_high * 100:.1f}"
        return f"{decision}   probability {finding.percent} %   abstain band {band} %"
    probability, threshold = _told_apart(finding.probability * 100, finding.threshold * 100)
    return f"{decision}   probability {probability} %   threshold {threshold} %"


def _told_apart(first: float, second: float) -> tuple[str, str]:
    """Write two numbers with one decimal, or with as many as it takes to see that they differ."""
    decimals = 1
    while first != second and f"{first:.{decimals}f}" == f"{second:.{decimals}f}" and decimals < _DECIMALS:
        decimals += 1
    return f"{first:.{decimals}f}", f"{second:.{decimals}f}"


def _fit(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> _Font:
    """Return the largest font, at most `size` pixels high, in which the text is no wider than `width`."""
    while size > _SMALLEST_FONT_PX and draw.textlength(text, font=_font(size)) > width:
        size -= 1
    return _font(size)


@cache
def _font(size: int) -> _Font:
    return ImageFont.load_default(size=size)
