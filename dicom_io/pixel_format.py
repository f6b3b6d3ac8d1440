"""What the header says of the pixels, and what of it is read at all; asked before any memory is spent."""

from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID, RLELossless, UncompressedTransferSyntaxes

from dicom_io.codecs import SIZED_SYNTAXES
from dicom_io.errors import UnreadablePixels, UnsupportedImage

MAX_PIXELS = 2**26
"""Rows x columns of the largest image that is decoded, 8192 x 8192. The largest detectors have about 20
million pixels, a film of 35 x 43 cm that was scanned at 50 µm has 60 million."""

READ_SYNTAXES = frozenset({*UncompressedTransferSyntaxes, RLELossless, *SIZED_SYNTAXES})
"""Transfer syntaxes that are read; Explicit VR Big Endian is retired, and still met."""

GREY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

_FLOAT_PIXELS = ("FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class PixelFormat:
    """The Image Pixel module (PS3.3 C.7.6.3) of one frame, as far as decoding needs it."""

    transfer_syntax: UID
    rows: int
    columns: int
    samples: int
    """1 or 3."""
    bits_allocated: int
    """1, 8 or 16."""
    bits_stored: int
    high_bit: int
    """Bits Stored - 1 where the header's is missing or impossible."""
    signed: bool
    photometric_interpretation: str

    @property
    def frame_bytes(self) -> int:
        """Bytes of the frame without compression, chroma at full resolution."""
        return -(-self.rows * self.columns * self.samples * self.bits_allocated // 8)


def read_format(dataset: Dataset) -> PixelFormat:
    """Return the format of the pixels, or refuse it.

    Parameters
    ----------
    dataset : pydicom.Dataset
        With `file_meta`. Pixel Data is not looked at.

    Raises
    ------
    UnsupportedImage
        If it is whole, and of a kind that is not read: floating point pixels, several frames, more than 16
        bits, more than `MAX_PIXELS` pixels, an unknown transfer syntax or photometric interpretation.
    UnreadablePixels
        If what decoding needs is missing or contradicts itself.

    References
    ----------
    PS3.3 C.7.6.3.1 (Image Pixel), C.7.6.24 (Floating Point Image Pixel), C.7.6.6 (Multi-frame); PS3.5 8.1.1.
    """
    if any(keyword in dataset for keyword in _FLOAT_PIXELS):
        raise UnsupportedImage("expected whole numbers as pixels, came floating point")
    frames = _whole_number(dataset, "NumberOfFrames", missing=1) or 1
    if frames != 1:
        raise UnsupportedImage(f"expected one frame, came {frames}")
    found = PixelFormat(
        transfer_syntax=_transfer_syntax(dataset),
        rows=_whole_number(dataset, "Rows"),
        columns=_whole_number(dataset, "Columns"),
        samples=_whole_number(dataset, "SamplesPerPixel"),
        bits_allocated=_whole_number(dataset, "BitsAllocated"),
        bits_stored=_whole_number(dataset, "BitsStored"),
        high_bit=_whole_number(dataset, "HighBit", missing=-1),
        signed=_whole_number(dataset, "PixelRepresentation") == 1,
        photometric_interpretation=_photometric_interpretation(dataset),
    )
    _require_supported(found)
    _require_consistent(found)
    return found


def _transfer_syntax(dataset: Dataset) -> UID:
    syntax = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    if not syntax:
        raise UnreadablePixels("expected a Transfer Syntax UID in the file meta information, came none")
    if syntax not in READ_SYNTAXES:
        # The name of the standard, never the text that came.
        known = UID(syntax).type == "Transfer Syntax"
        raise UnsupportedImage(
            "expected an uncompressed, deflated, RLE, JPEG, JPEG-LS, JPEG 2000 or HTJ2K transfer syntax, "
            f"came {UID(syntax).name if known else 'another one'}"
        )
    return UID(syntax)


def _photometric_interpretation(dataset: Dataset) -> str:
    found = str(dataset.get("PhotometricInterpretation") or "").strip().upper()
    if not found:
        raise UnreadablePixels("expected PhotometricInterpretation in the header, it is missing")
    if found not in (*GREY, PALETTE, *COLOUR):
        raise UnsupportedImage(
            f"expected {', '.join((*GREY, PALETTE, *COLOUR))} as Photometric Interpretation, came another"
        )
    return found


def _whole_number(dataset: Dataset, keyword: str, *, missing: int | None = None) -> int:
    value: Any = dataset.get(keyword)
    if value is None or value == "":
        if missing is None:
            raise UnreadablePixels(f"expected {keyword} in the header, it is missing")
        return missing
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnreadablePixels(f"expected one whole number as {keyword}") from error


def _require_supported(found: PixelFormat) -> None:
    if found.samples not in (1, 3):
        raise UnsupportedImage(f"expected 1 or 3 samples per pixel, came {found.samples}")
    if found.bits_allocated not in (1, 8, 16):
        raise UnsupportedImage(f"expected 1, 8 or 16 bits allocated, came {found.bits_allocated}")
    if not 1 <= found.rows * found.columns <= MAX_PIXELS:
        raise UnsupportedImage(f"expected 1 to {MAX_PIXELS} pixels, came {found.rows} x {found.columns}")


def _require_consistent(found: PixelFormat) -> None:
    if not 1 <= found.bits_stored <= found.bits_allocated:
        raise UnreadablePixels(
            f"expected 1 to {found.bits_allocated} bits stored, no more than allocated, "
            f"came {found.bits_stored}"
        )
    if (found.samples == 3) != (found.photometric_interpretation in COLOUR):
        raise UnreadablePixels(
            f"expected a Photometric Interpretation for {found.samples} samples per pixel, "
            f"came {found.photometric_interpretation}"
        )
    if found.samples == 3 and (found.signed or found.bits_allocated == 1):
        raise UnreadablePixels("expected colours as unsigned numbers of 8 or 16 bits")
