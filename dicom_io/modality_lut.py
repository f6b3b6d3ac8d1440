"""Stored values → the values that they stand for: Modality LUT or rescale (PS3.3 C.11.1), and padding.

Shape: N values.
"""

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_io.lookup import as_pixels_are_read, first_number, read_table


def apply_modality(dataset: Dataset, values_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Apply the Modality LUT or rescale; with neither, the values stay as they are.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Modality LUT Sequence, else Rescale Slope and Rescale Intercept; a slope of 0 would make all alike
        and is left out.
    values_N : NDArray[np.int64]
        Stored values.

    Raises
    ------
    UnreadablePixels
        If there is a Modality LUT that cannot be read: without it the values mean nothing.

    References
    ----------
    PS3.3 C.11.1.1.1 (descriptor), C.11.1.1.2 (rescale).
    """
    if dataset.get("ModalityLUTSequence"):
        return read_table(dataset, dataset.ModalityLUTSequence[0]).look_up(values_N).astype(np.float64)
    slope, intercept = first_number(dataset, "RescaleSlope"), first_number(dataset, "RescaleIntercept")
    if slope is None or intercept is None or slope == 0.0:
        return values_N.astype(np.float64)
    return values_N.astype(np.float64) * slope + intercept


def padding_mask(dataset: Dataset, values_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which stored values are padding: Pixel Padding Value, or its range with the Range Limit.

    References
    ----------
    PS3.3 C.7.5.1.1.2.
    """
    limits = [dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")]
    if not isinstance(limits[0], int):
        return np.zeros(values_N.shape, dtype=bool)
    ends = [as_pixels_are_read(dataset, limit) for limit in limits if isinstance(limit, int)]
    return (values_N >= min(ends)) & (values_N <= max(ends))
