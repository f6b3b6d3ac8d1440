"""Decode compressed frames with imagecodecs, for `dicom_io.pixels` and as a plug-in of pydicom (PS3.5 A.4).

Before anything is decoded, the size that the codestream itself announces is compared with the header, so
that a picture of 65500 x 65500 under a header of 64 x 64 costs a few microseconds instead of the machine's
memory. Why imagecodecs, and not pylibjpeg, GDCM or Pillow: `docs/decisions/0003-pixel-codecs.md`.

Shapes: H rows, W columns, C samples, which are left out when there is one.
"""

import struct
from dataclasses import dataclass, replace
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.decoders.base import Decoder, DecodeRunner, get_decoder

from dicom_io.codestreams import CodestreamHeader, read_codestream_header, require_bounded_work
from dicom_io.errors import UnreadablePixels

PLUGIN = "imagecodecs"
"""Name of the plug-in among pydicom's decoders."""

JPEG_SYNTAXES = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEGLS_SYNTAXES = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG2000_SYNTAXES = (uid.JPEG2000Lossless, uid.JPEG2000)
HTJ2K_SYNTAXES = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)

SIZED_SYNTAXES = (*JPEG_SYNTAXES, *JPEGLS_SYNTAXES, *JPEG2000_SYNTAXES, *HTJ2K_SYNTAXES)
"""Their codestreams announce their own size."""

_LOSSY_SYNTAXES = (
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLSNearLossless,
    uid.JPEG2000,
    uid.HTJ2K,
)

DECODER_DEPENDENCIES = dict.fromkeys((*SIZED_SYNTAXES, uid.RLELossless), ("imagecodecs",))
"""Asked for by pydicom of every plug-in: transfer syntax → packages that it needs."""

_TRAILER_LENGTH = 64
"""End-of-image is looked for in this many last bytes: padding may follow it, and some writers add more."""

_RLE_HEADER_LENGTH = 64
"""Number of segments and 15 offsets, 4 bytes each (PS3.5 G.5)."""


@dataclass(frozen=True)
class FrameHeader:
    """What the data set says of one frame (PS3.3 C.7.6.3)."""

    transfer_syntax_uid: str
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    photometric_interpretation: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded frame, HW or HWC."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)


def register() -> None:
    """Make pydicom decode all compressed transfer syntaxes with imagecodecs; again does nothing."""
    for syntax in DECODER_DEPENDENCIES:
        decoder: Decoder = get_decoder(syntax)
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "decode_frame"))


def is_available(transfer_syntax_uid: str) -> bool:
    """Return whether this plug-in decodes the transfer syntax; pydicom asks every plug-in."""
    return transfer_syntax_uid in DECODER_DEPENDENCIES


def is_lossy(transfer_syntax_uid: str) -> bool:
    """Return whether the transfer syntax allows lossy compression."""
    return transfer_syntax_uid in _LOSSY_SYNTAXES


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame for pydicom, which calls this with the frame's bytes and the values of the header.

    Parameters
    ----------
    frame : bytes
        One compressed frame, its fragments joined.
    runner : pydicom.pixels.decoders.base.DecodeRunner
        Holds Rows, Columns, Samples per Pixel, Bits Allocated and the transfer syntax. Planar Configuration
        and Photometric Interpretation are set to what the returned bytes have.

    Returns
    -------
    bytes
        Rows x columns x samples integers of Bits Allocated bits, in the machine's byte order.

    Raises
    ------
    UnreadablePixels
        See `decode`.
    """
    header = FrameHeader(
        transfer_syntax_uid=runner.transfer_syntax,
        rows=runner.rows,
        columns=runner.columns,
        samples=runner.samples_per_pixel,
        bits_allocated=runner.bits_allocated,
        photometric_interpretation=str(runner.photometric_interpretation),
    )
    decoded, colours = decode(frame, header)
    if header.samples == 3:
        runner.set_option("planar_configuration", 0)
        runner.set_option("photometric_interpretation", colours)
    # The decoder chooses the container by the codestream's precision, pydicom reads Bits Allocated.
    return decoded.astype(f"{decoded.dtype.kind}{header.bits_allocated // 8}", copy=False).tobytes()


def decode(frame: bytes, header: FrameHeader) -> tuple[NDArray[Any], str]:
    """Decode one frame.

    Parameters
    ----------
    frame : bytes
        One compressed frame, its fragments joined.
    header : FrameHeader
        What the data set says of it.

    Returns
    -------
    array_HW or array_HWC : NDArray
        Integers, as signed as the codestream says; RLE, JPEG and JPEG-LS know no sign.
    photometric_interpretation : str
        That of the array: JPEG 2000 undoes YBR_ICT and YBR_RCT itself, and what a JPEG says of its colours
        counts more than what the data set says.

    Raises
    ------
    UnreadablePixels
        If the codestream's own size differs from the header, its end is missing, or it cannot be decoded.
    """
    if header.transfer_syntax_uid == uid.RLELossless:
        return _decode_rle(frame, header), header.photometric_interpretation
    codestream = read_codestream_header(frame)
    _require_announced_size(codestream, header)
    require_bounded_work(frame, codestream)
    if b"\xff\xd9" not in frame[-_TRAILER_LENGTH:]:
        # libjpeg and OpenJPEG fill what is missing with grey and say nothing.
        raise UnreadablePixels("expected a codestream that ends with an end marker (FFD9), it is cut off")
    decoded = _decode_codestream(frame, header)
    if decoded.shape != header.shape:
        raise UnreadablePixels(f"expected decoded pixels of shape {header.shape}, came {decoded.shape}")
    return decoded, _colours(codestream, header)


def _colours(codestream: CodestreamHeader, header: FrameHeader) -> str:
    if header.samples == 1:
        return header.photometric_interpretation
    if header.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
        return "RGB"
    if codestream.is_rgb is None:
        return header.photometric_interpretation
    return "RGB" if codestream.is_rgb else "YBR_FULL"


def _decode_codestream(frame: bytes, header: FrameHeader) -> NDArray[Any]:
    try:
        if header.transfer_syntax_uid in JPEG_SYNTAXES:
            # The same name twice: libjpeg converts no colours, the photometric interpretation tells them.
            colours = "RGB" if header.samples == 3 else "GRAYSCALE"
            return np.asarray(imagecodecs.jpeg8_decode(frame, colorspace=colours, outcolorspace=colours))
        if header.transfer_syntax_uid in JPEGLS_SYNTAXES:
            return np.asarray(imagecodecs.jpegls_decode(frame))
        # OpenJPEG decodes HTJ2K too. OpenJPH (`htj2k_decode`) lets saturated 16-bit white wrap to black.
        return np.asarray(imagecodecs.jpeg2k_decode(frame))
    except (RuntimeError, ValueError, TypeError) as error:
        raise UnreadablePixels(f"expected a sound codestream, decoding failed: {error}") from error


def _decode_rle(frame: bytes, header: FrameHeader) -> NDArray[Any]:
    """Decode RLE Lossless (PS3.5 annex G) into exactly as many bytes as the header announces."""
    _require_rle_segments(frame, header)
    dtype = f"<u{header.bits_allocated // 8}"
    expected_bytes = header.rows * header.columns * header.samples * header.bits_allocated // 8
    try:
        # With a limit the decoder stops at a run that would overflow: 64 bytes come from every two.
        decoded = imagecodecs.dicomrle_decode(frame, dtype, out=expected_bytes)
    except (RuntimeError, ValueError) as error:
        raise UnreadablePixels(f"expected sound RLE segments, decoding failed: {error}") from error
    if len(decoded) != expected_bytes:
        raise UnreadablePixels(f"expected {expected_bytes} bytes of RLE pixel data, came {len(decoded)}")
    planes = np.frombuffer(decoded, dtype).reshape(header.samples, header.rows, header.columns)
    return planes[0] if header.samples == 1 else np.moveaxis(planes, 0, -1)


def _require_rle_segments(frame: bytes, header: FrameHeader) -> None:
    if len(frame) < _RLE_HEADER_LENGTH:
        raise UnreadablePixels(f"expected an RLE header of {_RLE_HEADER_LENGTH} bytes, came {len(frame)}")
    count, *offsets = struct.unpack_from("<16I", frame)
    expected = header.samples * header.bits_allocated // 8
    if count != expected:
        raise UnreadablePixels(f"expected {expected} RLE segments, the segment table announces {count}")
    starts = [*offsets[:count], len(frame)]
    if starts[0] != _RLE_HEADER_LENGTH or starts != sorted(set(starts)):
        raise UnreadablePixels("expected ascending RLE segments inside the frame, the segment table lies")


def _require_announced_size(codestream: CodestreamHeader, header: FrameHeader) -> None:
    announced = CodestreamHeader(header.rows, header.columns, header.samples, header.bits_allocated)
    found = replace(codestream, precision=announced.precision, tiles=1)
    if found != announced:
        raise UnreadablePixels(
            f"expected {header.rows} x {header.columns} pixels of {header.samples} samples, as in the "
            f"header, the codestream has {found.rows} x {found.columns} of {found.samples}"
        )
    if not 1 <= codestream.precision <= header.bits_allocated:
        raise UnreadablePixels(
            f"expected at most {header.bits_allocated} bits per sample, came {codestream.precision}"
        )
