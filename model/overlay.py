"""A map over its film, with a colour scale that says what its numbers are and where the scale comes from."""

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

STRONGEST = 0.55
"""Most opacity: the film stays visible below the map."""
FIRST_VISIBLE, FULL = 0.1, 0.6
"""Up to the first of these shares of the scale the film shows as it is; from the second on the map is
strongest. Colours and opacity are those of the heat maps that are sent to a PACS."""
FOR = matplotlib.colormaps["autumn"]
AGAINST = LinearSegmentedColormap.from_list("against", ["#0072B2", "#56B4E9"])
"""Red to yellow speaks for COVID-19, blue against it: apart for every kind of colour vision."""
SIDE_IN, DPI = 6.0, 130


@dataclass(frozen=True)
class Scale:
    """What a full colour stands for."""

    top: float
    """Value of the map that has the strongest colour."""
    origin: str
    """Where the value comes from, as the picture says it."""


def overlay(image_HW: NDArray[np.float32], share_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the film with a map laid over it, uint8 of shape ``(rows, columns, 3)``.

    Parameters
    ----------
    image_HW
        The film, 0-1.
    share_HW
        The map as a share of its scale, cut off at -1 and 1, of any size; it is enlarged to the film's.
        Above 0.1 the film is coloured from red to yellow, below -0.1 blue; between the two it stays.
    """
    tall, wide = image_HW.shape
    large = Image.fromarray(share_HW.astype(np.float32)).resize((wide, tall), Image.Resampling.BILINEAR)
    value_HW = np.clip(np.asarray(large, np.float32), -1.0, 1.0)
    strength_HW = np.abs(value_HW)
    opacity_HW1 = (STRONGEST * np.clip((strength_HW - FIRST_VISIBLE) / (FULL - FIRST_VISIBLE), 0, 1))[
        ..., None
    ]
    colour_HW3 = np.where(value_HW[..., None] >= 0, FOR(strength_HW)[..., :3], AGAINST(strength_HW)[..., :3])
    film_HW1 = np.clip(image_HW, 0.0, 1.0)[..., None]
    mixed_HW3 = film_HW1 * (1 - opacity_HW1) + colour_HW3 * opacity_HW1
    return np.asarray(np.rint(mixed_HW3 * 255), np.uint8)


def picture(
    image_HW: NDArray[np.float32], map_HW: NDArray[np.float32], scale: Scale, title: str, unit: str
) -> Figure:
    """Return film and map with the colour scale in the map's own numbers, and below it where it comes from.

    Parameters
    ----------
    image_HW
        The film, 0-1.
    map_HW
        The map, covering the film's extent.
    scale
        Value of the strongest colour. Larger values have that colour too, and the picture says how many.
    title
        What stands above the film.
    unit
        What a value of the map is.
    """
    share_HW = map_HW / np.float32(scale.top)
    low = -1.0 if (map_HW < 0).any() else 0.0
    tall, wide = image_HW.shape
    across = SIDE_IN * min(1.0, wide / tall)
    figure = Figure(figsize=(across + 1.3, across * tall / wide + 1.1), layout="constrained", dpi=DPI)
    film, ramp = figure.subplots(1, 2, width_ratios=(across, 0.25))
    film.imshow(overlay(image_HW, share_HW), aspect="auto")
    film.set_axis_off()
    film.set_title(title, fontsize=10, loc="left")
    # As the colours look over mid-grey; the film below them makes them darker or lighter.
    values = np.linspace(1.0, low, 256, dtype=np.float32)[:, None]
    grey = np.full((256, 1), 0.5, np.float32)
    ramp.imshow(overlay(grey, values), extent=(0, 1, low * scale.top, scale.top), aspect="auto")
    ramp.set_xticks([])
    ramp.yaxis.tick_right()
    ramp.tick_params(labelsize=8)
    beyond = float((np.abs(share_HW) > 1).mean())
    figure.supxlabel(
        f"{unit}\nscale: {scale.origin}; {beyond:.1%} of the map lies beyond it\n"
        "For research and teaching only, not for diagnosis.",
        fontsize=8, x=0.02, ha="left",
    )  # fmt: skip
    return figure
