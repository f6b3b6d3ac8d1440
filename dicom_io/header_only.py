"""A DICOM file without what is large in it: pixels, documents, curves, overlays, waveforms."""

from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag

from dicom_io.errors import NotDicom
from dicom_io.part10 import PARSE_FAILURES, write_bytes

BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
LARGEST_VALUE = 1024
"""Bytes of a binary value that is still kept: codes and digests are small, pictures and documents are not."""
BULK_GROUPS = frozenset({0x5000, 0x6000, 0x7FE0})
"""Curves, overlays and pixel data; curves and overlays repeat in groups up to 00FF more (PS3.5 7.6)."""
ICON_IMAGE_SEQUENCE = BaseTag(0x00880200)


def encode_header(dataset: FileDataset) -> bytes:
    """Return the part-10 file of the same object without its bulk data (PS3.10 section 7).

    Parameters
    ----------
    dataset : FileDataset
        With its `file_meta`; what is large is removed from it, in sequences too.

    Raises
    ------
    NotDicom
        If it cannot be written again, as may be with a damaged one.
    """
    try:
        _strip(dataset)
        return write_bytes(dataset)
    except PARSE_FAILURES as error:
        raise NotDicom(
            f"expected a data set that can be written again, came {type(error).__name__}"
        ) from error


def _strip(dataset: Dataset) -> None:
    for tag in list(dataset.keys()):
        group = tag.group & 0xFF00 if tag.group < 0x7000 else tag.group
        if group in BULK_GROUPS or tag == ICON_IMAGE_SEQUENCE:
            del dataset[tag]
            continue
        element = dataset[tag]
        if element.VR == "SQ":
            for item in element.value:
                _strip(item)
        elif element.VR in BULK_VRS and len(element.value or b"") > LARGEST_VALUE:
            del dataset[tag]
