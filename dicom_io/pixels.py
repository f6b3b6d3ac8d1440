"""Data set → float32 image_HW in 0-1, air dark (PS3.3 C.7.6.3, C.11.1, C.11.2).

The same function reads films for training and for serving. Arrays carry their shape as a suffix: H rows,
W columns, C colour samples, N stored values (the levels that occur, from the lowest to the highest).

A film holds at most 65,536 different values. Modality LUT, VOI LUT or window and inversion are therefore
computed once per value, in float64, and the picture is looked up in that table.
"""

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut

from dicom_io import codecs
from dicom_io.errors import CxrError, NoPixelData, RetryableError, UnreadablePixels, UnsupportedImage

MAX_PIXELS = 100_000_000
"""Rows x columns of the largest image that is decoded; the largest detectors have about 20 million."""

PERCENTILES = (0.1, 99.9)
"""Without window, these percentiles of a film of more than 8 bits become 0 and 1: a dead pixel or a lead
marker must not take the contrast from the lungs (dcmtk's `dcm2pnm +Wh` does the same by histogram)."""

_LUMINANCE_C = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue (Rec. 601), as PS3.3 C.7.6.3.1.2 uses them for YBR_FULL."""

codecs.register()


def read_pixels(dataset: Dataset) -> NDArray[np.float32]:
    """Return the film as it is meant to be displayed, air dark.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Holds the Image Pixel module and `file_meta` with the transfer syntax; where present, the Modality
        LUT, VOI LUT and Palette Color Lookup Table modules are applied. It is not changed.

    Returns
    -------
    NDArray[np.float32]
        image_HW of shape (Rows, Columns), 0-1, air dark also for MONOCHROME1. One number per stored pixel:
        pixels that are not square are not resampled, so that a place in the image is the same place in the
        data set. Overlays, also those in unused bits, are ignored. Padding is 0.

    Raises
    ------
    NoPixelData
        If Pixel Data is missing or empty.
    UnsupportedImage
        If it has more than one frame, neither 1 nor 3 samples per pixel, more than 16 bits, or more than
        `MAX_PIXELS` pixels.
    RetryableError
        If there is too little memory.
    UnreadablePixels
        If the header lacks what decoding needs, the data are cut off or damaged, or their own size is not
        that of the header.

    Notes
    -----
    - The first VOI LUT, else the first window, is applied; a window of impossible width is left out.
    - Without any, images of up to 8 bits keep their values (255 is 1), since they were made for display;
      others are stretched between the percentiles of `PERCENTILES`.
    - Colour becomes luminance.

    References
    ----------
    PS3.3 C.7.6.3 (Image Pixel), C.7.5.1.1.2 (padding), C.11.1 (Modality LUT), C.11.2 (VOI LUT),
    C.11.6 (Presentation LUT Shape), PS3.5 8.1.1 (unused bits).
    """
    if not dataset.get("PixelData"):
        raise NoPixelData(f"expected Pixel Data, came none, in instance {dataset.get('SOPInstanceUID')}")
    try:
        _check_supported(dataset)
        return _read(dataset)
    except (CxrError, KeyboardInterrupt, SystemExit):
        raise
    except MemoryError as error:
        # The machine's trouble, not the film's: another try may find room.
        raise RetryableError("expected enough memory to decode the pixels, there is too little") from error
    # Decoders raise what they like; those written in Rust panic with a class that is no Exception.
    except BaseException as error:
        raise UnreadablePixels(
            f"expected decodable pixels, came {type(error).__name__}, in instance "
            f"{dataset.get('SOPInstanceUID')}"
        ) from error


def find_grey_range(dataset: Dataset) -> tuple[float, float]:
    """Return the values, after the Modality LUT, that `read_pixels` makes 0 and 1 without VOI LUT or window.

    Parameters
    ----------
    dataset : pydicom.Dataset
        A monochrome film that `read_pixels` reads.

    Returns
    -------
    tuple[float, float]
        Lowest and highest; equal when all pixels are.
    """
    stored_HW, _ = _decode(dataset)
    lowest, highest = int(stored_HW.min()), int(stored_HW.max())
    values_N = np.arange(lowest, highest + 1)
    counts_N = np.bincount(stored_HW.ravel().astype(np.int32) - lowest, minlength=values_N.size)
    counts_N = np.where(_padding_mask(dataset, values_N), 0, counts_N)
    return _ends(dataset, _apply_modality(dataset, values_N), counts_N)


def _check_supported(dataset: Dataset) -> None:
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UnsupportedImage(f"expected one frame, came {frames}")
    if dataset.SamplesPerPixel not in (1, 3):
        raise UnsupportedImage(f"expected 1 or 3 samples per pixel, came {dataset.SamplesPerPixel}")
    if dataset.BitsAllocated not in (1, 8, 16):
        raise UnsupportedImage(f"expected 1, 8 or 16 bits allocated, came {dataset.BitsAllocated}")
    if not 1 <= dataset.Rows * dataset.Columns <= MAX_PIXELS:
        raise UnsupportedImage(f"expected 1 to {MAX_PIXELS} pixels, came {dataset.Rows} x {dataset.Columns}")


def _read(dataset: Dataset) -> NDArray[np.float32]:
    stored, photometric_interpretation = _decode(dataset)
    if stored.ndim == 3:
        return _luminance(stored, photometric_interpretation, dataset.BitsStored)
    lowest, highest = int(stored.min()), int(stored.max())
    values_N = np.arange(lowest, highest + 1)
    counts_N = np.bincount((stored.ravel().astype(np.int32) - lowest), minlength=values_N.size)
    if photometric_interpretation == "PALETTE COLOR":
        grey_N = _palette_grey(dataset, values_N)
    else:
        grey_N = _display_grey(dataset, values_N, counts_N)
    image_HW: NDArray[np.float32] = grey_N.astype(np.float32)[stored.astype(np.int32) - lowest]
    return image_HW


def _decode(dataset: Dataset) -> tuple[NDArray[Any], str]:
    """Return the stored integers, image_HW or image_HWC, and their photometric interpretation."""
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    # Unused bits are dealt with below: pydicom takes High Bit for Bits Stored - 1.
    options: dict[str, Any] = {"number_of_frames": 1, "correct_unused_bits": False}
    plugin = "" if decoder.is_native else codecs.PLUGIN
    stored, properties = decoder.as_array(dataset, index=0, decoding_plugin=plugin, **options)
    if dataset.BitsAllocated > 1 and not codecs.is_lossy(decoder.UID):
        stored = _without_unused_bits(stored, dataset, has_high_bit=decoder.UID not in codecs.SIZED_SYNTAXES)
    return stored, str(properties["photometric_interpretation"])


def _without_unused_bits(stored: NDArray[Any], dataset: Dataset, *, has_high_bit: bool) -> NDArray[Any]:
    """Drop the bits above and below the value, where old films keep overlays; extend the sign (PS3.5 8.1.1).

    Not for lossy codestreams: theirs may overshoot Bits Stored, and a white that lost its highest bit is
    black. Codestreams other than RLE hold the value in the lowest bits, whatever High Bit says.
    """
    unused = dataset.BitsAllocated - dataset.BitsStored
    above = dataset.BitsAllocated - 1 - dataset.get("HighBit", -1) if has_high_bit else unused
    if not 0 <= above <= unused:
        above = unused
    return (stored << above) >> unused if unused else stored


def _luminance(
    colour_HWC: NDArray[Any], photometric_interpretation: str, bits_stored: int
) -> NDArray[np.float32]:
    if photometric_interpretation.startswith("YBR"):
        grey_HW = colour_HWC[..., 0].astype(np.float32)
    else:
        grey_HW = colour_HWC.astype(np.float32) @ _LUMINANCE_C.astype(np.float32)
    image_HW: NDArray[np.float32] = np.clip(grey_HW / np.float32(2**bits_stored - 1), 0.0, 1.0)
    return image_HW


def _palette_grey(dataset: Dataset, values_N: NDArray[np.int64]) -> NDArray[np.float64]:
    entries, first, _ = dataset.RedPaletteColorLookupTableDescriptor
    # Clipped here, since pydicom holds the index in the type of the table and lets it wrap.
    inside_N = np.clip(values_N, first, first + (entries or 2**16) - 1)
    colour_NC = apply_color_lut(inside_N, dataset)[..., :3]
    grey_N: NDArray[np.float64] = colour_NC @ _LUMINANCE_C / np.iinfo(colour_NC.dtype).max
    return grey_N


def _display_grey(
    dataset: Dataset, values_N: NDArray[np.int64], counts_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the grey, 0-1, of every stored value of a monochrome film."""
    padding_N = _padding_mask(dataset, values_N)
    modality_N = _apply_modality(dataset, values_N)
    grey_N = _apply_voi(dataset, modality_N)
    if grey_N is None:
        grey_N = _whole_range(dataset, modality_N, np.where(padding_N, 0, counts_N))
    if is_inverted(dataset):
        grey_N = 1.0 - grey_N
    # Padding is no part of the image (PS3.3 C.7.5.1.1.2): dark, like the air around the patient.
    return np.where(padding_N, 0.0, grey_N)


def is_inverted(dataset: Dataset) -> bool:
    """Return whether the lowest value of a monochrome film is meant white.

    MONOCHROME1 and Presentation LUT Shape INVERSE say the same thing: a DX image must have both (PS3.3
    C.8.11.3), so that they do not cancel each other.

    Parameters
    ----------
    dataset : Dataset
        Holds Photometric Interpretation and, where present, Presentation LUT Shape.
    """
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    return bool(dataset.PhotometricInterpretation == "MONOCHROME1" or shape == "INVERSE")


def _padding_mask(dataset: Dataset, values_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    limits = [dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")]
    if not isinstance(limits[0], int):
        return np.zeros(values_N.shape, dtype=bool)
    ends = [as_stored(dataset, limit) for limit in limits if isinstance(limit, int)]
    return (values_N >= min(ends)) & (values_N <= max(ends))


def as_stored(dataset: Dataset, value: int) -> int:
    """Return a value of VR `US or SS` as the pixels are read: some writers choose the wrong one.

    Parameters
    ----------
    dataset : Dataset
        Holds Pixel Representation.
    value : int
        The value as pydicom reads it.
    """
    return value - 2**16 if dataset.PixelRepresentation == 1 and value >= 2**15 else value


def _apply_modality(dataset: Dataset, values_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Apply the Modality LUT or rescale (PS3.3 C.11.1); with neither, the values stay as they are."""
    if dataset.get("ModalityLUTSequence"):
        lut_N, _ = lookup_table(dataset, dataset.ModalityLUTSequence[0])
        first = as_stored(dataset, dataset.ModalityLUTSequence[0].LUTDescriptor[1])
        return _look_up(lut_N, first, values_N).astype(np.float64)
    slope, intercept = first_number(dataset, "RescaleSlope"), first_number(dataset, "RescaleIntercept")
    if slope is None or intercept is None or slope == 0.0:
        return values_N.astype(np.float64)
    return values_N.astype(np.float64) * slope + intercept


def _apply_voi(dataset: Dataset, modality_N: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Apply the first VOI LUT or window (PS3.3 C.11.2) and scale to 0-1; None when there is no valid one."""
    if dataset.get("VOILUTSequence"):
        item = dataset.VOILUTSequence[0]
        if item.get("LUTDescriptor") and item.get("LUTData") is not None:
            lut_N, highest = lookup_table(dataset, item)
            return _look_up(lut_N, as_stored(dataset, item.LUTDescriptor[1]), modality_N) / highest
    centre, width = first_number(dataset, "WindowCenter"), first_number(dataset, "WindowWidth")
    if centre is None or width is None:
        return None
    return window(modality_N, centre, width, function=str(dataset.get("VOILUTFunction") or "LINEAR"))


def window(
    values_N: NDArray[np.float64], centre: float, width: float, *, function: str = "LINEAR"
) -> NDArray[np.float64] | None:
    """Apply a window and scale to 0-1.

    pydicom's `apply_windowing` answers on the scale of the stored values instead, and knows the range of
    that scale only inside.

    Parameters
    ----------
    values_N : NDArray[np.float64]
        Values after the Modality LUT, any shape.
    centre, width : float
        Window Center and Window Width.
    function : str
        VOI LUT Function: LINEAR, LINEAR_EXACT or SIGMOID.

    Returns
    -------
    NDArray[np.float64] or None
        0-1; None when the width is below what the function allows or the function is unknown.

    References
    ----------
    PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT).
    """
    function = function.strip().upper()
    if function == "LINEAR" and width >= 1.0:
        if width == 1.0:
            return np.where(values_N > centre - 0.5, 1.0, 0.0)
        return np.clip((values_N - (centre - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)
    if function == "LINEAR_EXACT" and width > 0.0:
        return np.clip((values_N - centre) / width + 0.5, 0.0, 1.0)
    if function == "SIGMOID" and width > 0.0:
        # Beyond 700 the exponential overflows; the result is 0 or 1 long before.
        exponent_N = np.clip(-4.0 * (values_N - centre) / width, -700.0, 700.0)
        return 1.0 / (1.0 + np.exp(exponent_N))
    return None


def _whole_range(
    dataset: Dataset, modality_N: NDArray[np.float64], counts_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Scale values without a window to 0-1; `counts_N` says how often each occurs."""
    low, high = _ends(dataset, modality_N, counts_N)
    if high == low:
        return np.zeros(modality_N.shape)
    grey_N: NDArray[np.float64] = np.clip((modality_N - low) / (high - low), 0.0, 1.0)
    return grey_N


def _ends(
    dataset: Dataset, modality_N: NDArray[np.float64], counts_N: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the values that become 0 and 1 without a window."""
    if dataset.BitsStored <= 8 and not dataset.get("ModalityLUTSequence"):
        lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
        ends_N = _apply_modality(dataset, np.array([lowest, lowest + 2**dataset.BitsStored - 1]))
    else:
        order_N = np.argsort(modality_N, kind="stable")
        share_N = np.cumsum(counts_N[order_N]) / max(1, counts_N.sum())
        places = np.searchsorted(share_N, np.array(PERCENTILES) / 100.0)
        ends_N = modality_N[order_N[np.minimum(places, order_N.size - 1)]]
    return float(ends_N.min()), float(ends_N.max())


def lookup_table(dataset: Dataset, item: Dataset) -> tuple[NDArray[np.int64], int]:
    """Return the entries of a Modality or VOI LUT and the highest value that they may have.

    Parameters
    ----------
    dataset : Dataset
        The film; its `file_meta` tells the byte order of packed entries.
    item : Dataset
        Item of Modality LUT Sequence or VOI LUT Sequence (PS3.3 C.11.1.1.1, C.11.2.1.1).

    Notes
    -----
    pydicom's `apply_modality_lut` and `apply_voi` fail for 10 to 15 bits per entry, for 8-bit entries that
    are packed in OW, and let the index of an 8-bit table wrap at 256.
    """
    entries, _, bits = item.LUTDescriptor
    entries = entries or 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        packed = len(data) < 2 * entries
        lut_N = np.frombuffer(data, dtype="u1" if packed else f"{order}u2")[:entries].astype(np.int64)
    else:
        lut_N = np.atleast_1d(np.asarray(data, dtype=np.int64))[:entries]
    # A descriptor may announce fewer bits than its entries use; it must not push them beyond 1.
    return lut_N, max(2 ** int(bits) - 1, int(lut_N.max()))


def _look_up(
    lut_N: NDArray[np.int64], first: int, values_N: NDArray[np.int64] | NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the entry of each value; values before the first or after the last have that one's."""
    index_N = np.clip(np.rint(values_N - first), 0, lut_N.size - 1).astype(np.int64)
    return lut_N[index_N]


def first_number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric attribute, or None when it is missing or no finite number.

    Parameters
    ----------
    dataset : Dataset
        A data set as read.
    keyword : str
        Keyword of the attribute.
    """
    try:
        value: Any = dataset.get(keyword)
        number = float(value[0] if isinstance(value, MultiValue) else value)
    except (TypeError, ValueError, IndexError, ArithmeticError, struct.error):
        return None
    return number if math.isfinite(number) else None
