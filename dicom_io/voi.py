"""Values → grey 0-1: VOI LUT, window, or the whole range where the header has neither (PS3.3 C.11.2).

Shape: N values.
"""

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_io.lookup import first_number, read_table
from dicom_io.modality_lut import apply_modality

PERCENTILES = (0.1, 99.9)
"""Without window, these percentiles of a film of more than 8 bits become 0 and 1: a dead pixel or a lead
marker must not take the contrast from the lungs (dcmtk's `dcm2pnm +Wh` does the same by histogram)."""


def apply_voi(dataset: Dataset, modality_N: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Apply the first VOI LUT, else the first window, and scale to 0-1.

    Parameters
    ----------
    dataset : pydicom.Dataset
        VOI LUT Sequence; Window Center, Window Width and VOI LUT Function.
    modality_N : NDArray[np.float64]
        Values after the Modality LUT.

    Returns
    -------
    NDArray[np.float64] or None
        0-1; None when there is no valid table and no valid window.
    """
    for item in list(dataset.get("VOILUTSequence") or ())[:1]:
        if item.get("LUTDescriptor") and item.get("LUTData") is not None:
            table = read_table(dataset, item)
            return table.look_up(modality_N) / table.highest
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


def whole_range(
    dataset: Dataset, modality_N: NDArray[np.float64], counts_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Scale values without a window to 0-1.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Bits Stored, Pixel Representation, Modality LUT.
    modality_N : NDArray[np.float64]
        Values after the Modality LUT.
    counts_N : NDArray[np.int64]
        How often each occurs.

    Returns
    -------
    NDArray[np.float64]
        Up to 8 bits keep their values (255 is 1), since they were made for display; more are stretched
        between the percentiles of `PERCENTILES`.
    """
    if dataset.BitsStored <= 8 and not dataset.get("ModalityLUTSequence"):
        lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
        ends_N = apply_modality(dataset, np.array([lowest, lowest + 2**dataset.BitsStored - 1]))
    else:
        order_N = np.argsort(modality_N, kind="stable")
        share_N = np.cumsum(counts_N[order_N]) / max(1, counts_N.sum())
        places = np.searchsorted(share_N, np.array(PERCENTILES) / 100.0)
        ends_N = modality_N[order_N[np.minimum(places, order_N.size - 1)]]
    low, high = float(ends_N.min()), float(ends_N.max())
    if high == low:
        return np.zeros(modality_N.shape)
    grey_N: NDArray[np.float64] = np.clip((modality_N - low) / (high - low), 0.0, 1.0)
    return grey_N
