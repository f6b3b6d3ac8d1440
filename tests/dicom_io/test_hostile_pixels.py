"""Hostile files: bombs and lying headers cost little, and damage of any kind gives a declared error.

What a C library does wrong cannot be caught in the process that calls it: each group runs in a child with a
bound on its memory, and a crash, a hang or too little memory shows in how it ends.
"""

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from builders import (
    build_film,
    build_secondary_capture,
    compress,
    encode_frame,
    phantom_HW,
    put_compressed,
    put_pixels,
    to_bytes,
)
from parts import ROOT
from pydicom import Dataset, uid

from dicom_io.pixel_format import MAX_PIXELS

ROOM_BYTES = 256 * 2**20
"""What the child may use beyond what Python and its libraries take."""

CHILD = """
import faulthandler, json, resource, sys, time, warnings
from pathlib import Path
from dicom_io.errors import NotDicom, PermanentError
from dicom_io.part10 import read_dataset
from dicom_io.pixels import read_pixels
faulthandler.enable()
warnings.simplefilter("ignore")
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[2]),) * 2)
outcomes = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    started = time.monotonic()
    try:
        image_HW = read_pixels(read_dataset(path, max_bytes=64 * 2**20))
        outcome = f"read {image_HW.shape[0]} x {image_HW.shape[1]}"
    except PermanentError as error:
        outcome = f"{type(error).__name__}: {error}"
    outcomes[path.name] = [outcome, time.monotonic() - started]
print(json.dumps(outcomes))
"""


def read_in_child(folder: Path, room_bytes: int = ROOM_BYTES) -> dict[str, tuple[str, float]]:
    """Read each file of a folder; the errors of `dicom_io` are outcomes, anything else ends the child."""
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(room_bytes)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return {name: (outcome, seconds) for name, (outcome, seconds) in json.loads(ran.stdout).items()}


# Bombs ------------------------------------------------------------------------------------------------


def small_film() -> Dataset:
    return build_film(phantom_HW(64, 64))


def swollen(frame: bytes, *, form: str, by: int) -> bytes:
    """Make a codestream of 64 x 64 announce another size."""
    old, new = struct.pack(form, 64, 64), struct.pack(form, by, by)
    assert old in frame
    return frame.replace(old, new, 1)


def codestream_bombs() -> Iterator[tuple[str, Dataset]]:
    stored_HW = np.rint(phantom_HW(64, 64) * 4095).astype(np.uint16)
    for syntax in (uid.JPEGExtended12Bit, uid.JPEGLosslessSV1, uid.JPEGLSLossless):
        frame = swollen(encode_frame(stored_HW, syntax, 12), form=">HH", by=65500)
        yield f"{syntax.keyword} announces 65500", put_compressed(small_film(), frame, syntax)
    for syntax in (uid.JPEG2000, uid.JPEG2000Lossless, uid.HTJ2KLossless):
        frame = swollen(encode_frame(stored_HW, syntax, 12), form=">II", by=65500)
        yield f"{syntax.keyword} announces 65500", put_compressed(small_film(), frame, syntax)


def rle_film(frame: bytes) -> Dataset:
    film = put_pixels(build_film(), np.zeros((64, 64), np.uint8), bits_stored=8)
    return put_compressed(film, frame, uid.RLELossless)


def rle_bombs() -> Iterator[tuple[str, Dataset]]:
    yield "RLE runs of 640 MB", rle_film(struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 5_000_000)
    yield "RLE of 4 billion segments", rle_film(struct.pack("<16I", 2**32 - 1, *[64] * 15) + b"\0" * 99)
    yield "RLE segment behind the end", rle_film(struct.pack("<16I", 1, 2**31, *[0] * 14) + b"\0" * 99)
    film = small_film()
    put_compressed(film, struct.pack("<16I", 2, 64, 64, *[0] * 13) + b"\x81\x00" * 64, uid.RLELossless)
    yield "RLE segments that overlap", film


def scan_bomb() -> bytes:
    """A progressive JPEG that passes a hundred thousand times over the picture."""
    frame = encode_frame(np.zeros((64, 64), np.uint8), uid.JPEGBaseline8Bit, 8)
    scan = frame[frame.index(b"\xff\xda") : -2]
    return frame[:-2] + scan * 100_000 + frame[-2:]


def other_bombs() -> Iterator[tuple[str, Dataset]]:
    yield "header of 65535 x 65535", build_film(Rows=65535, Columns=65535)
    film = compress(small_film(), uid.JPEGLSLossless)
    film.Rows = film.Columns = 65535
    yield "header of 65535 x 65535, compressed", film
    film = put_pixels(build_film(), np.zeros((64, 64), np.uint8), bits_stored=8)
    yield "JPEG of 100,000 scans", put_compressed(film, scan_bomb(), uid.JPEGBaseline8Bit)
    film = compress(small_film(), uid.JPEGLSLossless)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 2) + b"\0\0"
    film.PixelData = item[:4] + b"\0\0\0\0" + item * 300_000 + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    yield "300,000 fragments", film
    palette = put_pixels(build_secondary_capture(), np.zeros((64, 64), np.uint8), bits_stored=8)
    palette.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        setattr(palette, f"{colour}PaletteColorLookupTableDescriptor", [0, 0, 16])
        segments = struct.pack("<3H", 0, 1, 0) + struct.pack("<3H", 1, 65535, 9) * 20_000
        setattr(palette, f"Segmented{colour}PaletteColorLookupTableData", segments)
    yield "segmented palette of a billion entries", palette


def deflate_bomb(megabytes: int) -> bytes:
    """A part-10 file whose deflated data set is one long element of zeros."""
    film = build_film()
    film.clear()
    film.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    head = to_bytes(film)
    head = head[: head.index(b"1.2.840.10008.1.2.1.99") + 22]
    rest = to_bytes(film)[len(head) :]
    head += rest[: rest.index(b"UI") + 6 + struct.unpack_from("<H", rest, rest.index(b"UI") + 2)[0] - 2]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    element = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, megabytes * 2**20)
    body = deflater.compress(element)
    body += b"".join(deflater.compress(bytes(2**20)) for _ in range(megabytes))
    return head + body + deflater.flush()


def test_bombs_and_lying_headers_are_refused_within_a_bound(tmp_path: Path) -> None:
    bombs = dict([*codestream_bombs(), *rle_bombs(), *other_bombs()])
    for name, film in bombs.items():
        (tmp_path / name).write_bytes(to_bytes(film))
    (tmp_path / "deflated to 256 MB").write_bytes(deflate_bomb(256))
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 40e6
    outcomes = read_in_child(tmp_path)
    assert set(outcomes) == {*bombs, "deflated to 256 MB"}
    read = {name for name, (outcome, _) in outcomes.items() if outcome.startswith("read")}
    assert not read
    slow = {name: seconds for name, (_, seconds) in outcomes.items() if seconds > 5}
    assert not slow
    for name, words in (
        ("header of 65535 x 65535", "UnsupportedImage: expected 1 to"),
        ("RLE of 4 billion segments", "announces 4294967295"),
        ("RLE segments that overlap", "the segment table lies"),
        ("JPEG of 100,000 scans", "at most 64 scans"),
        ("300,000 fragments", "at most 65536 fragments"),
        ("segmented palette of a billion entries", "came a segmented one"),
        ("JPEGLSLossless announces 65500", "the codestream has 65500 x 65500"),
        ("deflated to 256 MB", "it inflates to more"),
    ):
        assert words in outcomes[name][0], outcomes[name][0]


def test_the_largest_film_takes_the_memory_that_it_must(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) // 2
    stored_HW = np.tile(np.rint(phantom_HW() * 4095).astype(np.uint16), (side // 256, side // 224 + 1))
    film = put_pixels(build_film(WindowCenter=2048, WindowWidth=4096), stored_HW[:, :side])
    (tmp_path / "film").write_bytes(to_bytes(film))
    # Two bytes for the file, its data set and the stored values each, four for the picture.
    outcomes = read_in_child(tmp_path, room_bytes=11 * side * side + 48 * 2**20)
    assert outcomes["film"][0] == f"read {side} x {side}"


# Damage -----------------------------------------------------------------------------------------------

SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGExtended12Bit,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2K,
)
CASES_EACH = 40


@pytest.mark.parametrize("where", ["anywhere", "in the pixels", "cut off"])
def test_damaged_files_are_read_or_refused_and_nothing_else(where: str, tmp_path: Path) -> None:
    random = np.random.default_rng(len(where))
    for syntax in SYNTAXES:
        film = build_film(phantom_HW(40, 40), WindowCenter=2048, WindowWidth=4096)
        if syntax.is_encapsulated:
            compress(film, syntax)
        else:
            film.file_meta.TransferSyntaxUID = syntax
        whole = to_bytes(film)
        pixels = max(whole.rfind(b"\xe0\x7f\x10\x00"), len(whole) // 2)
        for case in range(CASES_EACH):
            damaged = bytearray(whole)
            if where == "cut off":
                damaged = damaged[: random.integers(132, len(whole))]
            else:
                first = 132 if where == "anywhere" else pixels
                for place in random.integers(first, len(whole), random.integers(1, 9)):
                    damaged[place] = random.integers(0, 256)
            (tmp_path / f"{syntax.keyword} {case}").write_bytes(damaged)
    outcomes = read_in_child(tmp_path)
    assert len(outcomes) == len(SYNTAXES) * CASES_EACH
    refused = [outcome for outcome, _ in outcomes.values() if not outcome.startswith("read")]
    assert len(refused) > len(outcomes) / 20
    if where == "cut off":
        kinds = {outcome.split(":")[0] for outcome in refused}
        assert kinds <= {"NoPixelData", "NotDicom", "UnreadablePixels", "UnsupportedImage"}
        whole_all_the_same = [name for name, (outcome, _) in outcomes.items() if outcome.startswith("read")]
        # A cut that takes nothing but the sequence delimiter or padding.
        assert len(whole_all_the_same) < len(outcomes) / 10
    assert max(seconds for _, seconds in outcomes.values()) < 5
