"""A film and its heat map → the picture that a person looks at: overlay, colour scale, banner, finding.

Shapes: H, W are rows and columns; a trailing 3 is red, green, blue. All text stands in margins around the
film, never on it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_io.findings import Finding, Presence, ResultContext
from dicom_io.heat import blend, draw_scale, require_finite
from dicom_io.lettering import AMBER, BLACK, WHITE, fit

LONGEST_SIDE: Final = 2048
"""Most rows or columns of the picture, margins included."""
BANNER: Final = "RESEARCH ONLY - NOT FOR DIAGNOSIS"

_SHORTEST_LONG_SIDE: Final = 640
"""A smaller film is enlarged, else the text would be wider than the film or too small to read."""
_BOTTOM: Final = 6.9
"""Height of the margin below the film, in heights of its text."""
_DECISIONS: Final = {
    Presence.PRESENT: "COVID-19: PRESENT",
    Presence.ABSENT: "COVID-19: ABSENT",
    Presence.UNDETERMINED: "COVID-19: UNDETERMINED",
}
_DECIMALS: Final = 6
"""Most decimals of a percentage: enough for a number in single precision."""
_FINDING: Final = 1.25
"""Height of the line with the finding, in heights of the other text."""


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


def lay_out(rows: int, columns: int, pixel_aspect: float = 1.0) -> Layout:
    """Return the layout of the picture of a film; the film keeps its proportions.

    Parameters
    ----------
    rows, columns : int
        Size of the film in pixels.
    pixel_aspect : float
        Height of a pixel of the film by its width. The picture's own pixels are square, as viewers take them.

    Returns
    -------
    Layout
        Neither side of the picture exceeds `LONGEST_SIDE`.
    """
    tall, wide = rows * max(1.0, pixel_aspect), columns * max(1.0, 1.0 / pixel_aspect)
    longest = min(max(round(tall), round(wide), _SHORTEST_LONG_SIDE), LONGEST_SIDE)
    font_px = max(14, round(longest / 62))
    top, bottom, right = round(font_px * 2.2), round(font_px * _BOTTOM), font_px * 6
    scale = min(
        longest / max(tall, wide), (LONGEST_SIDE - top - bottom) / tall, (LONGEST_SIDE - right) / wide
    )
    film_rows, film_columns = max(1, round(tall * scale)), max(1, round(wide * scale))
    # Room for the longest line of text, also beside a very narrow film.
    width = min(max(film_columns, font_px * 34) + right, LONGEST_SIDE)
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
    image_HW: NDArray[np.float32],
    cam_HW: NDArray[np.float32],
    context: ResultContext,
    pixel_aspect: float = 1.0,
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
    pixel_aspect : float
        Height of a pixel of the film by its width.

    Returns
    -------
    NDArray[np.uint8], shape (H, W, 3)
        RGB, longest side at most 2048, laid out by `lay_out`, coloured by `dicom_io.heat.blend`; nothing is
        stretched per film: a negative one stays grey.

    Raises
    ------
    InvalidResult
        When an array is empty, has other than two dimensions, or holds a value that is not finite.
    """
    require_finite("image", image_HW)
    require_finite("heat map", cam_HW)
    layout = lay_out(image_HW.shape[0], image_HW.shape[1], pixel_aspect)
    picture = Image.new("RGB", (layout.columns, layout.rows), BLACK)
    film_HW3 = blend(image_HW, cam_HW, (layout.film_columns, layout.film_rows))
    picture.paste(Image.fromarray(film_HW3), (layout.film_left, layout.film_top))
    draw = ImageDraw.Draw(picture)
    _draw_banner(draw, layout)
    _draw_scale(picture, layout)
    _draw_finding(draw, layout, _lines(context, float(cam_HW.max())))
    return np.asarray(picture)


def _draw_banner(draw: ImageDraw.ImageDraw, layout: Layout) -> None:
    font = fit(draw, BANNER, layout.columns - layout.font_px, round(layout.font_px * 1.3))
    draw.text((layout.columns / 2, layout.film_top / 2), BANNER, fill=AMBER, font=font, anchor="mm")


def _draw_scale(picture: Image.Image, layout: Layout) -> None:
    """Draw the colour scale beside the film."""
    unit = layout.font_px
    available = layout.rows - layout.film_top - round(unit * _BOTTOM)
    height = min(available, unit * 24) - unit * 2
    place = (layout.columns - round(unit * 5.2), layout.film_top + (available - height) // 2)
    draw_scale(picture, place, height, unit)


def _draw_finding(draw: ImageDraw.ImageDraw, layout: Layout, lines: list[tuple[str, float]]) -> None:
    top = float(layout.rows - round(layout.font_px * (_BOTTOM - 0.3)))
    for text, size in lines:
        font = fit(draw, text, layout.columns - layout.font_px, round(layout.font_px * size))
        draw.text((layout.font_px // 2, round(top)), text, fill=WHITE, font=font)
        top += layout.font_px * size * 1.45


def _lines(context: ResultContext, highest: float) -> list[tuple[str, float]]:
    """Return the lines below the film, each with its height."""
    return [
        (judgement(context.finding), _FINDING),
        (f"Model {context.algorithm.name} {context.algorithm.version}", 1.0),
        (f"Time {context.created_at.isoformat(sep=' ', timespec='seconds')}", 1.0),
        (describe_map(highest), 1.0),
    ]


def describe_map(highest: float) -> str:
    """Return one line on the map: what it explains, its scale, and how far it reaches on this film.

    Parameters
    ----------
    highest : float
        Largest value of the map.
    """
    return f"Map: Grad-CAM for COVID-19, 0 to 1 on a scale fixed for the model, highest here {highest:.2f}"


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
