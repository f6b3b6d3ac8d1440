"""Pixel Data → the stored integers of one frame, whatever its transfer syntax (PS3.5 section 8, annex A)."""

import itertools
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_fragments, parse_basic_offsets
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import RLELossless

from dicom_io import codecs
from dicom_io.errors import NoPixelData, UnreadablePixels
from dicom_io.pixel_format import PixelFormat

MAX_FRAGMENTS = 2**16
"""Most fragments of one frame; a film of 20 MB in fragments of 4 KB has 5,000."""

MAX_SURPLUS = 0.01
"""Share of bytes beyond the last pixel that counts as padding. More of them means that the header names
too few rows, columns or frames, and that only a part of the film would be judged."""

_SURPLUS_BYTES = 4096
"""Padding of up to this many bytes is always tolerated: some writers fill whole sectors."""


@dataclass(frozen=True)
class StoredValues:
    """One frame as it is stored, before any table or window."""

    array: NDArray[Any]
    """Integers, HW or HWC, signed as Pixel Representation says."""
    photometric_interpretation: str
    """That of `array`: a decoder may have changed it."""


def read_stored_values(dataset: Dataset, pixel_format: PixelFormat) -> StoredValues:
    """Return the integers of the one frame; unused bits are dropped, and the sign is extended.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Holds Pixel Data.
    pixel_format : PixelFormat
        As `read_format` found it.

    Raises
    ------
    NoPixelData
        If Pixel Data is missing or empty.
    UnreadablePixels
        If it is shorter than the header says, or much longer, or cannot be decoded.
    """
    if not dataset.get("PixelData"):
        raise NoPixelData("expected Pixel Data, came none")
    is_encapsulated = bool(dataset["PixelData"].is_undefined_length)
    if is_encapsulated and not pixel_format.transfer_syntax.is_encapsulated:
        raise UnreadablePixels(
            "expected uncompressed Pixel Data, as the transfer syntax says, came fragments"
        )
    if not pixel_format.transfer_syntax.is_encapsulated:
        return _native(dataset, pixel_format)
    frame = _join_fragments(dataset.PixelData)
    header = codecs.FrameHeader(
        transfer_syntax_uid=pixel_format.transfer_syntax,
        rows=pixel_format.rows,
        columns=pixel_format.columns,
        samples=pixel_format.samples,
        bits_allocated=pixel_format.bits_allocated,
        photometric_interpretation=pixel_format.photometric_interpretation,
    )
    array, colours = codecs.decode(frame, header)
    return StoredValues(_as_header_says(array, pixel_format), colours)


def _native(dataset: Dataset, pixel_format: PixelFormat) -> StoredValues:
    expected, came = pixel_format.frame_bytes, len(dataset.PixelData)
    if came - expected > max(_SURPLUS_BYTES, MAX_SURPLUS * expected):
        raise UnreadablePixels(f"expected {expected} bytes of Pixel Data for one frame, came {came}")
    # Unused bits are dealt with below: pydicom takes High Bit for Bits Stored - 1.
    options: dict[str, Any] = {"number_of_frames": 1, "correct_unused_bits": False, "as_rgb": False}
    decoder = get_decoder(pixel_format.transfer_syntax)
    try:
        array, properties = decoder.as_array(dataset, index=0, **options)
    except (ValueError, TypeError, AttributeError) as error:
        trouble = f"came {came}" if came < expected else "its description is contradictory"
        raise UnreadablePixels(f"expected {expected} bytes of Pixel Data for one frame, {trouble}") from error
    return StoredValues(
        _as_header_says(array, pixel_format), str(properties["photometric_interpretation"]).strip().upper()
    )


def _join_fragments(pixel_data: bytes) -> bytes:
    """Join all fragments: with one frame, what an offset table says is of no interest, true or not."""
    stream = BytesIO(pixel_data)
    try:
        parse_basic_offsets(stream)
        fragments = list(itertools.islice(generate_fragments(stream), MAX_FRAGMENTS + 1))
    except (ValueError, TypeError) as error:
        raise UnreadablePixels("expected Pixel Data as items of known length (PS3.5 A.4)") from error
    if len(fragments) > MAX_FRAGMENTS:
        raise UnreadablePixels(f"expected at most {MAX_FRAGMENTS} fragments of one frame, came more")
    return fragments[0] if len(fragments) == 1 else b"".join(fragments)


def _as_header_says(array: NDArray[Any], pixel_format: PixelFormat) -> NDArray[Any]:
    """Drop the bits above and below the value, where old films keep overlays; extend the sign (PS3.5 8.1.1).

    Lossy codestreams keep their values: theirs may overshoot Bits Stored, and a white that lost its
    highest bit is black. Where their sign is another than the header's, only the bits can be meant.
    """
    if pixel_format.bits_allocated == 1:
        return array
    kind = "i" if pixel_format.signed else "u"
    if codecs.is_lossy(pixel_format.transfer_syntax) and array.dtype.kind == kind:
        return array
    unused = pixel_format.bits_allocated - pixel_format.bits_stored
    above = unused
    if not pixel_format.transfer_syntax.is_encapsulated or pixel_format.transfer_syntax == RLELossless:
        # Other codestreams hold the value in the lowest bits, whatever High Bit says.
        above = pixel_format.bits_allocated - 1 - pixel_format.high_bit
        above = above if 0 <= above <= unused else unused
    container = np.dtype(f"{kind}{pixel_format.bits_allocated // 8}")
    values = array.astype(container, copy=False)
    return (values << above) >> unused if unused else values
