"""Data set → float32 image_HW in 0-1, air dark (PS3.3 C.7.6.3, C.11.1, C.11.2): the story, top to bottom.

The same function reads films for training and for serving. Arrays carry their shape as a suffix: H rows,
W columns, C colour samples, N stored values (the levels that occur, from the lowest to the highest).

A film holds at most 65,536 different values. Modality LUT, VOI LUT or window and inversion are therefore
computed once per value, in float64, and the picture is looked up in that table.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_io import codecs
from dicom_io.colour import palette_grey, to_grey
from dicom_io.errors import CxrError, NoPixelData, RetryableError, UnreadablePixels
from dicom_io.modality_lut import apply_modality, padding_mask
from dicom_io.pixel_format import PALETTE, PixelFormat, read_format
from dicom_io.stored_values import read_stored_values
from dicom_io.voi import apply_voi, whole_range

codecs.register()

_BLOCK_PIXELS = 2**16
"""Looked up at once: NumPy indexes with 8 bytes per pixel, which need not exist for all pixels at a time."""


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
        pixels that are not square (Pixel Spacing, Pixel Aspect Ratio) are not resampled, so that a place
        in the
        image is the same place in the data set. Networks squeeze the whole film into a square, which makes
        a film with pixels of 1 x 2 and its square twin the same input. Overlays, also those in unused bits,
        are ignored. Padding is 0.

    Raises
    ------
    NoPixelData
        If Pixel Data is missing or empty.
    UnsupportedImage
        If it is whole and of a kind that is not read (`dicom_io.pixel_format.read_format`), or in colour.
    RetryableError
        If there is too little memory.
    UnreadablePixels
        If the header lacks what decoding needs, the data are cut off or damaged, or their own size is not
        that of the header.

    Notes
    -----
    - The first VOI LUT, else the first window, is applied; a window of impossible width is left out.
    - Without any, images of up to 8 bits keep their values (255 is 1), since they were made for display;
      others are stretched between the percentiles of `dicom_io.voi.PERCENTILES`.
    - Grey that is stored as RGB, YBR or palette becomes its luminance.
    - A Presentation LUT Sequence belongs to presentation states and prints (PS3.3 C.11.4): no film has one.

    References
    ----------
    PS3.3 C.7.6.3 (Image Pixel), C.7.5.1.1.2 (padding), C.11.1 (Modality LUT), C.11.2 (VOI LUT),
    C.11.6 (Presentation LUT Shape), PS3.5 8.1.1 (unused bits).
    """
    try:
        return _read(dataset)
    except NoPixelData as error:
        raise NoPixelData(f"{error}, in instance {dataset.get('SOPInstanceUID')}") from error
    except UnreadablePixels as error:
        raise UnreadablePixels(f"{error}, in instance {dataset.get('SOPInstanceUID')}") from error
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


def _read(dataset: Dataset) -> NDArray[np.float32]:
    pixel_format = read_format(dataset)
    stored = read_stored_values(dataset, pixel_format)
    if stored.array.ndim == 3:
        return to_grey(stored.array, stored.photometric_interpretation, pixel_format.bits_stored)
    values_N, counts_N = _count(stored.array)
    if pixel_format.photometric_interpretation == PALETTE:
        grey_N = palette_grey(dataset, values_N, counts_N)
    else:
        grey_N = _display_grey(dataset, values_N, counts_N, pixel_format)
    return _look_up(stored.array, int(values_N[0]), grey_N.astype(np.float32))


def _count(stored_HW: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the stored values from the lowest to the highest, and how often each occurs."""
    lowest, highest = int(stored_HW.min()), int(stored_HW.max())
    counts_N = np.zeros(highest - lowest + 1, dtype=np.int64)
    flat = stored_HW.ravel()
    for start in range(0, flat.size, _BLOCK_PIXELS):
        block = flat[start : start + _BLOCK_PIXELS].astype(np.int64) - lowest
        counts_N += np.bincount(block, minlength=counts_N.size)
    return np.arange(lowest, highest + 1), counts_N


def _look_up(stored_HW: NDArray[Any], lowest: int, grey_N: NDArray[np.float32]) -> NDArray[np.float32]:
    image_HW = np.empty(stored_HW.shape, dtype=np.float32)
    flat, image = stored_HW.ravel(), image_HW.ravel()
    for start in range(0, flat.size, _BLOCK_PIXELS):
        block = flat[start : start + _BLOCK_PIXELS].astype(np.int64) - lowest
        np.take(grey_N, block, out=image[start : start + _BLOCK_PIXELS])
    return image_HW


def _display_grey(
    dataset: Dataset,
    values_N: NDArray[np.int64],
    counts_N: NDArray[np.int64],
    pixel_format: PixelFormat,
) -> NDArray[np.float64]:
    """Return the grey, 0-1, of every stored value of a monochrome film."""
    padding_N = padding_mask(dataset, values_N)
    modality_N = apply_modality(dataset, values_N)
    grey_N = apply_voi(dataset, modality_N)
    if grey_N is None:
        grey_N = whole_range(dataset, modality_N, np.where(padding_N, 0, counts_N))
    if _is_inverted(dataset, pixel_format.photometric_interpretation):
        grey_N = 1.0 - grey_N
    # Padding is no part of the image (PS3.3 C.7.5.1.1.2): dark, like the air around the patient.
    return np.where(padding_N, 0.0, grey_N)


def _is_inverted(dataset: Dataset, photometric_interpretation: str) -> bool:
    """Return whether the lowest value is meant white.

    MONOCHROME1 and Presentation LUT Shape INVERSE say the same thing: a DX image must have both (PS3.3
    C.8.11.3), so that they do not cancel each other. Where they disagree the shape counts, as in dcmtk and
    dcm4che: it says what the values of the window are.
    """
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    return shape == "INVERSE" or (shape != "IDENTITY" and photometric_interpretation == "MONOCHROME1")
