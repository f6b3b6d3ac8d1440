"""Decode compressed Pixel Data with imagecodecs, as a plug-in of pydicom's decoders (PS3.5 annex A.4).

Before anything is decoded, the size that the codestream itself announces is compared with the header, so
that a picture of 65500 x 65500 under a header of 64 x 64 costs a few microseconds instead of the machine's
memory. Why imagecodecs, and not pylibjpeg, GDCM or Pillow: `docs/decisions/0003-pixel-codecs.md`.
"""

import struct
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.decoders.base import Decoder, DecodeRunner, get_decoder

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

_MAX_TILES = 65_535
"""Most tiles in a JPEG 2000 codestream: their index has 16 bits (ISO 15444-1, A.4.2)."""

_TRAILER_LENGTH = 64
"""End-of-image is looked for in this many last bytes: padding may follow it, and some writers add more."""


@dataclass(frozen=True)
class CodestreamHeader:
    """What a compressed frame says of itself, read without decoding it."""

    rows: int
    columns: int
    samples: int
    precision: int
    """Bits per sample."""
    tiles: int = 1


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
    """Decode one frame; pydicom calls this with the frame's bytes and the values of the header.

    Parameters
    ----------
    frame : bytes
        One compressed frame, its fragments joined.
    runner : pydicom.pixels.decoders.base.DecodeRunner
        Holds Rows, Columns, Samples per Pixel, Bits Allocated and the transfer syntax. Planar Configuration
        is set to what the returned bytes have.

    Returns
    -------
    bytes
        Rows x columns x samples integers of Bits Allocated bits, in the machine's byte order.

    Raises
    ------
    UnreadablePixels
        If the codestream's own size differs from the header, or its end is missing.
    """
    if runner.transfer_syntax == uid.RLELossless:
        return _decode_rle(frame, runner)
    _check_against_header(read_codestream_header(frame), runner)
    if b"\xff\xd9" not in frame[-_TRAILER_LENGTH:]:
        # libjpeg and OpenJPEG fill what is missing with grey and say nothing.
        raise UnreadablePixels("expected a codestream that ends with an end marker (FFD9), it is cut off")
    array = _decode_codestream(frame, runner.transfer_syntax, runner.samples_per_pixel)
    expected = (runner.rows, runner.columns) + ((3,) if runner.samples_per_pixel == 3 else ())
    if array.shape != expected:
        raise UnreadablePixels(f"expected decoded pixels of shape {expected}, came {array.shape}")
    if runner.samples_per_pixel == 3:
        runner.set_option("planar_configuration", 0)
    # The decoder chooses the container by the codestream's precision, pydicom reads Bits Allocated.
    return array.astype(f"{array.dtype.kind}{runner.bits_allocated // 8}", copy=False).tobytes()


def _decode_codestream(frame: bytes, transfer_syntax_uid: str, samples: int) -> NDArray[Any]:
    if transfer_syntax_uid in JPEG_SYNTAXES:
        # The same name twice: libjpeg converts no colours, pydicom does, by Photometric Interpretation.
        colours = "RGB" if samples == 3 else "GRAYSCALE"
        array = imagecodecs.jpeg8_decode(frame, colorspace=colours, outcolorspace=colours)
    elif transfer_syntax_uid in JPEGLS_SYNTAXES:
        array = imagecodecs.jpegls_decode(frame)
    else:
        # OpenJPEG decodes HTJ2K too. OpenJPH (`htj2k_decode`) lets saturated 16-bit white wrap to black.
        array = imagecodecs.jpeg2k_decode(frame)
    return np.asarray(array)


def _decode_rle(frame: bytes, runner: DecodeRunner) -> bytes:
    """Decode RLE Lossless (PS3.5 annex G) into exactly as many bytes as the header announces."""
    expected_bytes = int(runner.frame_length(unit="bytes"))
    # With a limit of its own the decoder stops at a run that would overflow: 64 bytes come from every two.
    decoded = imagecodecs.dicomrle_decode(frame, f"<u{runner.bits_allocated // 8}", out=expected_bytes)
    if len(decoded) != expected_bytes:
        raise UnreadablePixels(f"expected {expected_bytes} bytes of RLE pixel data, came {len(decoded)}")
    runner.set_option("planar_configuration", 1)
    return bytes(decoded)


def _check_against_header(codestream: CodestreamHeader, runner: DecodeRunner) -> None:
    announced = (runner.rows, runner.columns, runner.samples_per_pixel)
    found = (codestream.rows, codestream.columns, codestream.samples)
    if found != announced:
        raise UnreadablePixels(
            f"expected {announced} rows, columns and samples, as in the header, the codestream has {found}"
        )
    if not 1 <= codestream.precision <= runner.bits_allocated:
        raise UnreadablePixels(
            f"expected at most {runner.bits_allocated} bits per sample, came {codestream.precision}"
        )
    if codestream.tiles > _MAX_TILES:
        raise UnreadablePixels(f"expected at most {_MAX_TILES} tiles, came {codestream.tiles}")


def read_codestream_header(frame: bytes) -> CodestreamHeader:
    """Read the size that a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream announces, without decoding it.

    Parameters
    ----------
    frame : bytes
        The compressed frame; JPEG 2000 may be wrapped in a JP2 file, which DICOM forbids but some write.

    Raises
    ------
    UnreadablePixels
        If it is none of these, or ends before its size is known.

    References
    ----------
    ISO 10918-1 B.2.2 (SOF), ISO 14495-1 C.2.2 (SOF55), ISO 15444-1 A.5.1 (SIZ) and I.4 (boxes).
    """
    try:
        if frame.startswith(b"\xff\xd8"):
            return _read_jpeg_header(frame)
        return _read_j2k_header(frame, _find_j2k_codestream(frame))
    except (struct.error, IndexError) as error:
        raise UnreadablePixels("expected a codestream with its size in a header, it is cut off") from error


_JPEG_SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""SOF0-SOF15 without DHT, JPG and DAC, which lie between them; SOF55 is JPEG-LS."""

_JPEG_START_OF_SCAN = 0xDA


def _read_jpeg_header(frame: bytes) -> CodestreamHeader:
    position = 2
    while True:
        if frame[position] != 0xFF:
            raise UnreadablePixels(f"expected a JPEG marker at byte {position}")
        while frame[position] == 0xFF:  # any number of fill bytes (ISO 10918-1 B.1.1.2)
            position += 1
        marker = frame[position]
        (length,) = struct.unpack_from(">H", frame, position + 1)
        if marker in _JPEG_SIZE_MARKERS:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", frame, position + 3)
            return CodestreamHeader(rows, columns, samples, precision)
        if marker == _JPEG_START_OF_SCAN:
            raise UnreadablePixels("expected a JPEG frame header before its first scan")
        position += 1 + length


def _find_j2k_codestream(frame: bytes) -> int:
    """Return where the codestream begins: at once, or inside the boxes of a JP2 file."""
    position = 0
    if frame[4:8] == b"jP  ":
        while True:
            length, kind = struct.unpack_from(">I4s", frame, position)
            if kind == b"jp2c":
                position += 8
                break
            if length < 8:
                raise UnreadablePixels("expected a JP2 file with a codestream box")
            position += length
    if frame[position : position + 4] != b"\xff\x4f\xff\x51":
        raise UnreadablePixels("expected a JPEG or JPEG 2000 codestream, its first marker is another")
    return position


def _read_j2k_header(frame: bytes, start: int) -> CodestreamHeader:
    right, bottom, left, top, *tile = struct.unpack_from(">8I", frame, start + 8)
    (samples,) = struct.unpack_from(">H", frame, start + 40)
    width, height = right - left, bottom - top
    tile_width, tile_height = tile[:2]
    if min(width, height, tile_width, tile_height) < 1:
        raise UnreadablePixels("expected a JPEG 2000 size above zero")
    return CodestreamHeader(
        rows=height,
        columns=width,
        samples=samples,
        # Ssiz: the highest bit says signed, the others hold the precision less one.
        precision=(frame[start + 42] & 0x7F) + 1,
        tiles=-(-width // tile_width) * -(-height // tile_height),
    )
