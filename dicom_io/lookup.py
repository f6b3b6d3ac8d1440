"""LUT items and numbers of a header, as their attributes may come; used by Modality LUT and VOI LUT.

Shape: N values.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.multival import MultiValue

from dicom_io.errors import UnreadablePixels


@dataclass(frozen=True)
class LookupTable:
    """A LUT Descriptor with its LUT Data (PS3.3 C.11.1.1.1)."""

    entries_N: NDArray[np.int64]
    first: int
    """The value that the first entry stands for."""
    highest: int
    """The highest value that an entry may have."""

    def look_up(self, values_N: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the entry of each value; values before the first or after the last have that one's."""
        index_N = np.clip(np.rint(values_N - self.first), 0, self.entries_N.size - 1).astype(np.int64)
        return self.entries_N[index_N]


def read_table(dataset: Dataset, item: Dataset) -> LookupTable:
    """Read an item of a Modality or VOI LUT Sequence.

    pydicom's `apply_modality_lut` and `apply_voi` fail for 10 to 15 bits per entry, for 8-bit entries that
    are packed in OW, and let the index of an 8-bit table wrap at 256.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Its transfer syntax and Pixel Representation say how the item was written.
    item : pydicom.Dataset
        LUT Descriptor and LUT Data, the latter as OW or US. 0 entries mean 65,536.

    Raises
    ------
    UnreadablePixels
        If descriptor or data are missing or empty.
    """
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if not isinstance(descriptor, MultiValue | list | tuple) or len(descriptor) != 3 or data is None:
        raise UnreadablePixels("expected a LUT with a descriptor of three numbers and data, one is missing")
    # With VR SS, which a signed first value brings, more than 32,767 entries read as negative.
    count = int(descriptor[0]) % 2**16 or 2**16
    entries_N = _entries(dataset, data, count)
    if entries_N.size == 0:
        raise UnreadablePixels(f"expected a LUT of {count} entries, came none")
    # A descriptor may announce fewer bits than its entries use; it must not push them beyond 1.
    highest = max(2 ** min(max(int(descriptor[2]), 1), 16) - 1, int(entries_N.max()))
    return LookupTable(entries_N, as_pixels_are_read(dataset, int(descriptor[1])), highest)


def _entries(dataset: Dataset, data: Any, count: int) -> NDArray[np.int64]:
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, dtype=np.int64))[:count] % 2**16
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    if len(data) >= 2 * count:
        return np.frombuffer(data[: 2 * count], dtype=f"{order}u2").astype(np.int64)
    # Two entries of 8 bits in each word: in big endian the second comes first (PS3.5 annex D).
    words = np.frombuffer(data[: len(data) // 2 * 2], dtype=f"{order}u2").astype("<u2")
    return words.view("u1")[:count].astype(np.int64)


def as_pixels_are_read(dataset: Dataset, value: int) -> int:
    """Read a value of VR `US or SS` as signed as the pixels are: some writers choose the wrong one."""
    if dataset.get("PixelRepresentation") == 1:
        return value - 2**16 if value >= 2**15 else value
    return value


def first_number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric attribute, or None when it is missing or no finite number."""
    try:
        value: Any = dataset.get(keyword)
        number = float(value[0] if isinstance(value, MultiValue) else value)
    except (TypeError, ValueError, IndexError, ArithmeticError, struct.error):
        return None
    return number if math.isfinite(number) else None
