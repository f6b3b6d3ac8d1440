"""A picture of ours → JPEG Baseline, for a destination that asks for it: smaller, and lossy.

A heat map is a derived picture for the eye: what JPEG takes from it changes no finding, so it keeps its SOP
Instance UID (PS3.3 section C.7.6.1.1.5). The loss is stated in the picture.
"""

from io import BytesIO
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from dicom_io.errors import InvalidResult
from dicom_io.headers import read_texts
from dicom_io.part10 import write_bytes
from dicom_io.transcode import decompress, is_compressed, put_encapsulated

_LEVEL: Final = 92
"""Quality of libjpeg: letters of the banner stay sharp."""
_LARGEST_MEAN_DIFFERENCE: Final = 4.0
"""Grey values, over all samples, between a picture and what a reader of its JPEG sees."""
_METHOD: Final = "ISO_10918_1"
"""Lossy Image Compression Method of JPEG (PS3.3 section C.7.6.1.1.5.1)."""


def as_jpeg(encoded: bytes) -> bytes:
    """Return a part-10 object with its colour picture in JPEG Baseline; any other object as it is.

    Parameters
    ----------
    encoded : bytes
        A result of ours: a report, a presentation state, or an 8-bit RGB picture of one frame.

    Returns
    -------
    bytes
        A picture in JPEG Baseline, luminance and chrominance at 4:2:2 (``YBR_FULL_422``), with Lossy Image
        Compression, its ratio and its method; everything else as it was.

    Raises
    ------
    UnreadablePixels
        Its compressed picture cannot be decoded.
    InvalidResult
        The picture of the JPEG is another one; it must not be sent.

    References
    ----------
    PS3.5 sections 8.2.1 and A.4.1; PS3.3 sections C.7.6.1.1.5 and C.7.6.3.1.2.
    """
    image = dcmread(BytesIO(encoded))
    if "PixelData" not in image or image.SamplesPerPixel != 3:
        return encoded
    if is_compressed(image.file_meta.TransferSyntaxUID):
        decompress(image)
    shape = (int(image.Rows), int(image.Columns), 3)
    picture_HW3 = np.frombuffer(image.PixelData, np.uint8, count=int(np.prod(shape))).reshape(shape)
    frame = bytes(
        imagecodecs.jpeg8_encode(
            picture_HW3, level=_LEVEL, colorspace="RGB", outcolorspace="YCBCR", subsampling="422"
        )
    )
    _require_alike(picture_HW3, frame)
    _put(image, frame, ratio=picture_HW3.nbytes / len(frame))
    return write_bytes(image)


def _require_alike(picture_HW3: NDArray[np.uint8], frame: bytes) -> None:
    seen_HW3 = imagecodecs.jpeg8_decode(frame, colorspace="YCBCR", outcolorspace="RGB")
    if seen_HW3.shape != picture_HW3.shape:
        raise InvalidResult(f"JPEG: expected a picture of {picture_HW3.shape}, got {seen_HW3.shape}")
    difference = float(np.abs(seen_HW3.astype(np.int16) - picture_HW3.astype(np.int16)).mean())
    if difference > _LARGEST_MEAN_DIFFERENCE:
        raise InvalidResult(
            f"JPEG: expected a mean difference of at most {_LARGEST_MEAN_DIFFERENCE}, got {difference:.1f}"
        )


def _put(image: Dataset, frame: bytes, ratio: float) -> None:
    put_encapsulated(image, encapsulate([frame]))
    image.PhotometricInterpretation = "YBR_FULL_422"
    image.PlanarConfiguration = 0
    for keyword, value in (("Ratio", f"{ratio:.2f}"), ("Method", _METHOD)):
        # A film that was lossy itself has told of its own compression: one value for each (C.7.6.1.1.5.2).
        name = f"LossyImageCompression{keyword}"
        setattr(image, name, [*read_texts(image, name), value])
    image.LossyImageCompression = "01"
    image.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
