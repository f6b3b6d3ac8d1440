"""Colour → grey: captures and scans of a film are stored in colour, and hold none (PS3.3 C.7.6.3.1.2).

Shapes: H rows, W columns, C samples, N pixels of a sample, 2 chroma differences.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from dicom_io.errors import UnreadablePixels, UnsupportedImage

MAX_COLOURED = 0.05
"""Share of pixels that may have a colour of their own: a marker, a logo, a stamp. A heat map, a photograph
or a false-colour picture has more."""

MIN_CHROMA = 0.15
"""Distance from the colour of pixels of like brightness, of 1, from which a pixel counts as coloured; JPEG
makes a few hundredths of grey."""

_LUMINANCE_C = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue (Rec. 601), as PS3.3 C.7.6.3.1.2 uses them for YBR_FULL."""

_SHADES = 32
_SAMPLE_SIDE = 256
_BLOCK_ROWS = 64
_MAX_ENTRIES = 2**16


def to_grey(
    colour_HWC: NDArray[Any], photometric_interpretation: str, bits_stored: int
) -> NDArray[np.float32]:
    """Return the luminance, 0-1, of a picture that is grey but for its storage.

    Parameters
    ----------
    colour_HWC : NDArray
        Three samples.
    photometric_interpretation : str
        RGB, or any YBR, whose first sample is the luminance.
    bits_stored : int
        2 to its power, less one, is white.

    Raises
    ------
    UnsupportedImage
        If the colours say more than the brightness. A tint, as of scanned film on a blue base, does not.
    """
    white = float(2**bits_stored - 1)
    is_ybr = photometric_interpretation.startswith("YBR")
    rows, columns = colour_HWC.shape[:2]
    image_HW: NDArray[np.float32] = np.empty((rows, columns), np.float32)
    # In blocks: a picture in floating point is four times as large as it came.
    for top in range(0, rows, _BLOCK_ROWS):
        block_HWC = colour_HWC[top : top + _BLOCK_ROWS].astype(np.float32)
        grey_HW = block_HWC[..., 0] if is_ybr else block_HWC @ _LUMINANCE_C.astype(np.float32)
        image_HW[top : top + _BLOCK_ROWS] = np.clip(grey_HW / np.float32(white), 0.0, 1.0)
    step = (slice(None, None, -(-rows // _SAMPLE_SIDE)), slice(None, None, -(-columns // _SAMPLE_SIDE)))
    grey_N = image_HW[step].ravel().astype(np.float64)
    colour_NC = colour_HWC[step].reshape(-1, 3) / white
    _require_grey(grey_N, _ybr_chroma(colour_NC) if is_ybr else _rgb_chroma(colour_NC, grey_N))
    return image_HW


def _ybr_chroma(colour_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return red and blue less luminance, shape (N, 2), from Cb and Cr."""
    chroma_N2: NDArray[np.float64] = (colour_NC[:, 2:0:-1] - 0.5) * np.array([1.402, 1.772])
    return chroma_N2


def _rgb_chroma(colour_NC: NDArray[np.float64], grey_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return red and blue less luminance, shape (N, 2)."""
    chroma_N2: NDArray[np.float64] = colour_NC[:, ::2] - grey_N[:, None]
    return chroma_N2


def _require_grey(grey_N: NDArray[np.float64], chroma_N2: NDArray[np.float64]) -> None:
    shade_N = np.minimum((grey_N * _SHADES).astype(np.int64), _SHADES - 1)
    own_N2 = np.empty_like(chroma_N2)
    for shade in range(_SHADES):
        # The median: what most pixels of this brightness have in common is a tint.
        of_shade_N = shade_N == shade
        if of_shade_N.any():
            own_N2[of_shade_N] = chroma_N2[of_shade_N] - np.median(chroma_N2[of_shade_N], axis=0)
    coloured = float(np.mean(np.hypot(own_N2[:, 0], own_N2[:, 1]) > MIN_CHROMA))
    if coloured > MAX_COLOURED:
        raise UnsupportedImage(
            f"expected a grey picture, {100 * coloured:.0f} % of its pixels have a colour of their own"
        )


def palette_grey(
    dataset: Dataset, values_N: NDArray[np.int64], counts_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the luminance, 0-1, of stored values that index a palette.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Palette Color Lookup Table module.
    values_N, counts_N : NDArray[np.int64]
        Stored values, and how often each occurs.

    Raises
    ------
    UnsupportedImage
        If the palette is segmented, which a few bytes can make endless and no film has, or the picture is
        coloured.
    UnreadablePixels
        If a descriptor is missing, or a table is shorter than it says.

    References
    ----------
    PS3.3 C.7.9.
    """
    if "SegmentedRedPaletteColorLookupTableData" in dataset:
        raise UnsupportedImage("expected a plain palette, came a segmented one")
    for colour in ("Red", "Green", "Blue"):
        _require_whole_palette(dataset, colour)
    entries, first, _ = dataset.RedPaletteColorLookupTableDescriptor
    # Clipped here, since pydicom holds the index in the type of the table and lets it wrap.
    inside_N = np.clip(values_N, first, first + (entries or _MAX_ENTRIES) - 1)
    try:
        table_NC = apply_color_lut(inside_N, dataset)[..., :3]
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise UnreadablePixels("expected a palette as its descriptors say (PS3.3 C.7.9)") from error
    colour_NC = table_NC / np.iinfo(table_NC.dtype).max
    grey_N: NDArray[np.float64] = colour_NC @ _LUMINANCE_C
    _require_grey_palette(colour_NC, grey_N, counts_N)
    return grey_N


def _require_whole_palette(dataset: Dataset, colour: str) -> None:
    descriptor = dataset.get(f"{colour}PaletteColorLookupTableDescriptor")
    data = dataset.get(f"{colour}PaletteColorLookupTableData")
    if descriptor is None or len(descriptor) != 3 or data is None:
        raise UnreadablePixels(f"expected a {colour.lower()} palette with a descriptor of three numbers")
    entries = descriptor[0] or _MAX_ENTRIES
    if len(data) < entries:
        raise UnreadablePixels(f"expected a palette of {entries} entries, came {len(data)} bytes")


def _require_grey_palette(
    colour_NC: NDArray[np.float64], grey_N: NDArray[np.float64], counts_N: NDArray[np.int64]
) -> None:
    """As `_require_grey`, on a sample in which each value occurs as often as in the picture."""
    share_N = np.cumsum(counts_N) / max(1, int(counts_N.sum()))
    sample_N = np.minimum(
        np.searchsorted(share_N, np.linspace(0.0, 1.0, _SAMPLE_SIDE**2)), colour_NC.shape[0] - 1
    )
    _require_grey(grey_N[sample_N], _rgb_chroma(colour_NC, grey_N)[sample_N])
