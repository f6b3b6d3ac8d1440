"""A film's header → the grey transformations of a presentation state, as `dicom_io.pixels` applies them.

A viewer that applies a presentation state ignores Modality LUT, window and Photometric Interpretation of the
film (PS3.4 N.2), so that all three are written again. Shape: N stored values.
"""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from dicom_io.lookup import first_number, read_table
from dicom_io.modality_lut import apply_modality, padding_mask
from dicom_io.pixel_format import read_format
from dicom_io.repair import repair_code_string
from dicom_io.stored_values import read_stored_values
from dicom_io.voi import apply_voi, whole_range, window

_LEAST_WHITE = 0.5
"""Grey that a table of 16 bits must reach to use its highest bit."""


def is_monochrome(source: Dataset) -> bool:
    """Return whether a film can have a grayscale presentation state: no colour, no palette.

    Parameters
    ----------
    source : Dataset
        The film as read from the spool.
    """
    interpretation = str(source.get("PhotometricInterpretation") or "").strip()
    return source.get("SamplesPerPixel") == 1 and interpretation in {"MONOCHROME1", "MONOCHROME2"}


def presentation_lut_shape(source: Dataset) -> str:
    """Return INVERSE when the lowest value of the film is meant white, else IDENTITY.

    Parameters
    ----------
    source : Dataset
        The film; MONOCHROME1 and INVERSE say the same and do not cancel each other (PS3.3 C.8.11.3).
    """
    shape = str(source.get("PresentationLUTShape") or "").strip().upper()
    is_inverted = source.PhotometricInterpretation == "MONOCHROME1" or shape == "INVERSE"
    return "INVERSE" if is_inverted else "IDENTITY"


def describe_grey(state: Dataset, source: Dataset) -> None:
    """Write Modality LUT and Softcopy VOI LUT into a presentation state.

    Parameters
    ----------
    state : Dataset
        The presentation state.
    source : Dataset
        The film with its pixels: without VOI LUT and window their percentiles become black and white.

    Raises
    ------
    UnreadablePixels
        See `dicom_io.pixels.read_pixels`.

    References
    ----------
    PS3.3 C.11.1 (Modality LUT), C.11.8 (Softcopy VOI LUT).
    """
    is_plain = not source.get("ModalityLUTSequence")
    item = (_own_voi_lut(source) or _own_window(source)) if is_plain else None
    if item is None and is_plain and not _has_voi(source):
        item = _window_of_range(source)
    if item is not None:
        _copy_rescale(state, source)
        state.SoftcopyVOILUTSequence = [item]
    elif not is_plain or _has_voi(source):
        state.SoftcopyVOILUTSequence = [_table_of_all(source)]


def _has_voi(source: Dataset) -> bool:
    return apply_voi(source, np.zeros(1)) is not None


def _copy_rescale(state: Dataset, source: Dataset) -> None:
    slope, intercept = first_number(source, "RescaleSlope"), first_number(source, "RescaleIntercept")
    if slope and intercept is not None:
        state.RescaleSlope = DSfloat(slope, auto_format=True)
        state.RescaleIntercept = DSfloat(intercept, auto_format=True)
        state.RescaleType = repair_code_string(str(source.get("RescaleType") or "")) or "US"


def _own_voi_lut(source: Dataset) -> Dataset | None:
    for item in list(source.get("VOILUTSequence") or ())[:1]:
        if item.get("LUTDescriptor") and item.get("LUTData") is not None:
            table = read_table(source, item)
            grey_N = table.entries_N / table.highest
            return _voi_lut(table.first, grey_N) if grey_N.max() >= _LEAST_WHITE else None
    return None


def _own_window(source: Dataset) -> Dataset | None:
    """Return the window of the film if it is a linear one: dcmtk's presentation states know no other."""
    centre, width = first_number(source, "WindowCenter"), first_number(source, "WindowWidth")
    function = str(source.get("VOILUTFunction") or "LINEAR").strip().upper()
    if source.get("VOILUTSequence") or function != "LINEAR" or centre is None or width is None:
        return None
    return _window(centre, width) if window(np.zeros(1), centre, width) is not None else None


def _window_of_range(source: Dataset) -> Dataset | None:
    """Return a window from the value shown black to the one shown white; None when all pixels are alike.

    Without it, a viewer would spread black and white over all values that the film's bits could hold.
    """
    values_N, counts_N = _values(source)
    modality_N = apply_modality(source, values_N)
    grey_N = whole_range(source, modality_N, counts_N)
    if not grey_N.any():
        return None
    low, high = float(modality_N[grey_N == 0.0].max()), float(modality_N[grey_N == 1.0].min())
    # PS3.3 C.11.2.1.2.1: this window makes `low` black and `high` white.
    return _window((low + high + 1.0) / 2.0, abs(high - low) + 1.0)


def _window(centre: float, width: float) -> Dataset:
    item = Dataset()
    item.WindowCenter = DSfloat(centre, auto_format=True)
    item.WindowWidth = DSfloat(width, auto_format=True)
    return item


def _table_of_all(source: Dataset) -> Dataset:
    """Return one table for Modality LUT and VOI LUT together, over the values that the film holds.

    Many a Modality LUT of a film leaves the highest of its bits unused, which validators refuse, and on
    another scale it would no longer fit the VOI LUT behind it. Presentation states of dcmtk know no sigmoid.
    """
    values_N, counts_N = _values(source)
    modality_N = apply_modality(source, values_N)
    grey_N = apply_voi(source, modality_N)
    if grey_N is None:
        grey_N = whole_range(source, modality_N, counts_N)
    if grey_N.max() < _LEAST_WHITE and grey_N.size < 2**16:
        # Validators want a table to use its highest bit; no pixel has the value of this last entry.
        grey_N = np.append(grey_N, 1.0)
    return _voi_lut(int(values_N[0]), grey_N)


def _values(source: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the values from the film's lowest to its highest, and how often each occurs but as padding.

    Up to 8 bits, all that the bits may hold: there black and white do not depend on what occurs.
    """
    pixel_format = read_format(source)
    stored_HW = read_stored_values(source, pixel_format).array
    lowest, highest = int(stored_HW.min()), int(stored_HW.max())
    if pixel_format.bits_stored <= 8:
        start = -(2 ** (pixel_format.bits_stored - 1)) if pixel_format.signed else 0
        lowest, highest = min(lowest, start), max(highest, start + 2**pixel_format.bits_stored - 1)
    values_N = np.arange(lowest, highest + 1)
    counts_N = np.bincount((stored_HW.astype(np.int64) - lowest).ravel(), minlength=values_N.size)
    return values_N, np.where(padding_mask(source, values_N), 0, counts_N)


def _voi_lut(first: int, grey_N: NDArray[np.float64]) -> Dataset:
    """Return a table in 16 bits; a presentation state allows 8 and 16 alone (PS3.3 C.11.8)."""
    lut, size = Dataset(), grey_N.size
    # The count of a descriptor with VR SS is unsigned all the same (PS3.3 C.11.2.1.1): the same 16 bits.
    vr, count = ("SS", (size + 2**15) % 2**16 - 2**15) if first < 0 else ("US", size % 2**16)
    lut["LUTDescriptor"] = DataElement("LUTDescriptor", vr, [count, first, 16])
    lut["LUTData"] = DataElement("LUTData", "OW", np.rint(grey_N * 65535.0).astype("<u2").tobytes())
    item = Dataset()
    item.VOILUTSequence = [lut]
    return item
