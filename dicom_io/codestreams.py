"""What a compressed frame says of itself: size, depth and colours, read without decoding it."""

import struct
from dataclasses import dataclass, field

from dicom_io.errors import UnreadablePixels

MAX_TILES = 65_535
"""Most tiles in a JPEG 2000 codestream: their index has 16 bits (ISO 15444-1, A.4.2)."""

MAX_SCANS = 64
"""Most scans of a JPEG: each passes over the whole picture, and thousands fit into a small file. The
processes of DICOM need one per sample, progressive JPEG, which some send as baseline, about ten."""


@dataclass(frozen=True)
class CodestreamHeader:
    """What a compressed frame announces."""

    rows: int
    columns: int
    samples: int
    precision: int
    """Bits per sample."""
    tiles: int = 1
    is_rgb: bool | None = field(default=None, compare=False)
    """Whether three samples are red, green and blue (True) or luminance and chroma (False); None where a JPEG
    does not say."""


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


_SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""SOF0-SOF15 without DHT, JPG and DAC, which lie between them; SOF55 is JPEG-LS."""

_START_OF_SCAN = 0xDA
_JFIF = b"JFIF\0"
_ADOBE = b"\xff\xee\x00\x0eAdobe"
_RGB_IDS = (b"RGB", b"rgb")


def _read_jpeg_header(frame: bytes) -> CodestreamHeader:
    position = 2
    while True:
        if frame[position] != 0xFF:
            raise UnreadablePixels(f"expected a JPEG marker at byte {position}")
        while frame[position] == 0xFF:  # any number of fill bytes (ISO 10918-1 B.1.1.2)
            position += 1
        marker = frame[position]
        (length,) = struct.unpack_from(">H", frame, position + 1)
        if marker in _SIZE_MARKERS:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", frame, position + 3)
            names = frame[position + 9 : position + 9 + 3 * samples : 3]
            is_rgb = _says_rgb(frame[:position], names)
            return CodestreamHeader(rows, columns, samples, precision, is_rgb=is_rgb)
        if marker == _START_OF_SCAN:
            raise UnreadablePixels("expected a JPEG frame header before its first scan")
        position += 1 + length


def _says_rgb(before_frame_header: bytes, component_names: bytes) -> bool | None:
    """Return what a JPEG says of its colours: some writers state another Photometric Interpretation."""
    if component_names in _RGB_IDS:
        return True
    adobe = before_frame_header.find(_ADOBE)
    if adobe >= 0:
        # The last byte of the segment: 0 unknown or RGB, 1 YCbCr (Adobe technical note 5116).
        return before_frame_header[adobe + 15 : adobe + 16] == b"\0"
    return False if _JFIF in before_frame_header else None


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


def require_bounded_work(frame: bytes, header: CodestreamHeader) -> None:
    """Refuse a codestream whose decoding would take far longer than its size allows.

    Raises
    ------
    UnreadablePixels
        If it has more than `MAX_TILES` tiles or `MAX_SCANS` scans.
    """
    if header.tiles > MAX_TILES:
        raise UnreadablePixels(f"expected at most {MAX_TILES} tiles, came {header.tiles}")
    # In the coded data each FF is followed by 00 or a restart marker (ISO 10918-1 B.1.1.5).
    if frame.startswith(b"\xff\xd8") and frame.count(b"\xff\xda") > MAX_SCANS:
        raise UnreadablePixels(f"expected a JPEG of at most {MAX_SCANS} scans, came more")
