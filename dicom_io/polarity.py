"""Is a chest shown as its negative? Measured against a drawn chest, without any network.

Shapes: H rows, W columns, always `SIDE` of each after reduction.
"""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE: Final = 32
"""Rows and columns to which a film is reduced: lungs, mediastinum and shoulders are what remains."""

MIN_LIKENESS: Final = 0.2
"""Below minus this a film is a negative. On 22,690 frontal films of five public collections 12 are below, and
seven of these are negatives in truth; of the same films inverted 98.1 % are
(`tests/dicom_io/test_polarity.py`)."""

_INNER: Final = (slice(4, 26), slice(3, 29))
"""Without the rim: frames, collimator blades and letters are there."""


def likeness_to_a_chest(image_HW: NDArray[np.float32]) -> float:
    """Return how like the film is to a chest with dark lungs and bright mediastinum: 1 like, -1 its negative.

    Parameters
    ----------
    image_HW : NDArray[np.float32]
        Grey values, 0-1, air dark as far as the header is right.

    Returns
    -------
    float
        Mean of two correlations with the drawn chest, of the whole film and without its rim; 0 for a picture
        without contrast.
    """
    # Rows and columns first are picked, then averaged: 512 are more than 32 need.
    steps = tuple(max(1, side // 512) for side in image_HW.shape)
    picked = Image.fromarray(np.ascontiguousarray(image_HW[:: steps[0], :: steps[1]]))
    small_HW = np.asarray(picked.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    drawn_HW = _drawn_chest()
    whole, inner = _correlation(small_HW, drawn_HW), _correlation(small_HW[_INNER], drawn_HW[_INNER])
    return (whole + inner) / 2.0


def _correlation(one_HW: NDArray[np.float64], other_HW: NDArray[np.float64]) -> float:
    one, other = one_HW.ravel() - one_HW.mean(), other_HW.ravel() - other_HW.mean()
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length > 1e-9 else 0.0


@cache
def _drawn_chest() -> NDArray[np.float64]:
    """Return ellipses: body, two lungs taken out of it, spine, heart, and what lies below the diaphragm."""
    y_HW, x_HW = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) / SIDE

    def ellipse(centre_y: float, centre_x: float, radius_y: float, radius_x: float) -> NDArray[np.float64]:
        distance_HW = np.hypot((y_HW - centre_y) / radius_y, (x_HW - centre_x) / radius_x)
        soft_HW: NDArray[np.float64] = 1.0 / (1.0 + np.exp((distance_HW - 1.0) * 12.0))
        return soft_HW

    body_HW = 0.55 * ellipse(0.60, 0.50, 0.75, 0.55)
    lungs_HW = 0.45 * (ellipse(0.42, 0.28, 0.32, 0.16) + ellipse(0.42, 0.72, 0.32, 0.16))
    spine_HW = 0.30 * ellipse(0.50, 0.50, 0.70, 0.07)
    heart_HW = 0.25 * ellipse(0.62, 0.57, 0.15, 0.14)
    abdomen_HW = 0.25 * ellipse(0.95, 0.50, 0.20, 0.50)
    return body_HW - lungs_HW + spine_HW + heart_HW + abdomen_HW
