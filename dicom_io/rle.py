"""A colour picture → RLE Lossless, where that makes it smaller (PS3.5 annex G).

pydicom's own encoder is written in Python, and takes a hundred times as long over a picture of 2048 pixels.
"""

import struct
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from dicom_io.transcode import put_encapsulated

_HEADER: Final = struct.Struct("<16L")
"""Number of segments, and the offset of each from the start of the frame (PS3.5 section G.5)."""


def encode_planes(picture_HW3: NDArray[np.uint8]) -> bytes:
    """Return an 8-bit colour picture as one RLE frame: a segment for each colour, its rows coded apart.

    Parameters
    ----------
    picture_HW3 : NDArray[np.uint8], shape (H, W, 3)
        RGB.

    Returns
    -------
    bytes
        Header and segments, each of an even number of bytes.

    References
    ----------
    PS3.5 sections G.2 to G.5.
    """
    segments = [
        imagecodecs.packbits_encode(picture_HW3[..., plane].copy(), axis=-1)
        for plane in range(picture_HW3.shape[-1])
    ]
    segments = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    starts, start = [0] * 15, _HEADER.size
    for plane, segment in enumerate(segments):
        starts[plane] = start
        start += len(segment)
    return _HEADER.pack(len(segments), *starts) + b"".join(segments)


def compress_if_smaller(image: Dataset) -> bool:
    """Compress Pixel Data in place, unless the picture is so noisy that this makes it longer.

    Parameters
    ----------
    image : Dataset
        8-bit RGB of one frame, uncompressed, Planar Configuration 0. Its element is replaced, not changed.

    Returns
    -------
    bool
        Whether Pixel Data is RLE Lossless now.

    References
    ----------
    PS3.5 section A.4.2.
    """
    shape = (image.Rows, image.Columns, image.SamplesPerPixel)
    size = image.Rows * image.Columns * image.SamplesPerPixel
    if len(image.PixelData) != size + size % 2:
        # The self check has the words for a picture of another length than its description.
        return False
    plain = np.frombuffer(image.PixelData, np.uint8, count=size)
    encapsulated = encapsulate([encode_planes(plain.reshape(shape))])
    if len(encapsulated) >= len(image.PixelData):
        return False
    put_encapsulated(image, encapsulated)
    return True
