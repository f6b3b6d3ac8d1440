"""Pixels as dcmtk renders them: every encoding that dcmtk writes and reads, within one grey level of 255.

dcmtk rounds down to 8 bits, so that a difference below one level is none. It reads no JPEG 2000 or HTJ2K:
those are held against the uncompressed film (`test_twins.py`).
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_film, build_secondary_capture, phantom_HW, put_pixels, to_bytes
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, Sequence

from dicom_io.part10 import read_dataset
from dicom_io.pixels import read_pixels

ONE_LEVEL = 1.01 / 255
"""How far from dcmtk any pixel may be."""
FULL_WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def dcmtk(program: str, *words: str | Path) -> None:
    path = shutil.which(program)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} of dcmtk is missing")
        pytest.skip(f"{program} of dcmtk is missing")
    subprocess.run([path, *map(str, words)], check=True, timeout=60, capture_output=True)


def saved(folder: Path, film: Dataset) -> Path:
    path = folder / "film.dcm"
    path.write_bytes(to_bytes(film))
    return path


def rendered(film: Path, *options: str) -> NDArray[np.float64]:
    picture = film.with_suffix(".pnm")
    dcmtk("dcmj2pnm", *options, film, picture)
    return np.asarray(Image.open(picture).convert("L"), dtype=np.float64) / 255


def assert_looks_the_same(film: Path, *options: str, rendered_from: Path | None = None) -> None:
    difference_HW = np.abs(read_pixels(read_dataset(film)) - rendered(rendered_from or film, *options))
    assert difference_HW.max() < ONE_LEVEL


def build_lut(entries: NDArray[Any], *, first: int = 0, bits: int = 16) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [entries.size % 2**16, first, bits]
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    return Sequence([item])


@pytest.mark.parametrize("shape", [None, "IDENTITY", "INVERSE"])
@pytest.mark.parametrize("photometric_interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_polarity_is_that_of_dcmtk(
    photometric_interpretation: str, shape: str | None, tmp_path: Path
) -> None:
    film = build_film(PhotometricInterpretation=photometric_interpretation, **FULL_WINDOW)
    if shape:
        film.PresentationLUTShape = shape
    assert_looks_the_same(saved(tmp_path, film), "+Wi", "1")


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(2048, 4096), (1000.5, 333)])
def test_windows_are_those_of_dcmtk(
    function: str | None, centre: float, width: float, tmp_path: Path
) -> None:
    film = build_film(WindowCenter=[centre, 9], WindowWidth=[width, 9])
    if function:
        film.VOILUTFunction = function
    assert_looks_the_same(saved(tmp_path, film), "+Wi", "1")


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits_stored", [8, 10, 12, 15, 16])
def test_depth_sign_and_rescale_are_read_as_dcmtk_reads_them(
    bits_stored: int, signed: bool, tmp_path: Path
) -> None:
    stored_HW = np.rint(phantom_HW() * (2**bits_stored - 1)).astype(np.int32)
    stored_HW -= 2 ** (bits_stored - 1) if signed else 0
    film = put_pixels(build_film(), stored_HW, bits_stored=bits_stored, signed=signed)
    film.RescaleSlope, film.RescaleIntercept = 2, -500
    film.WindowCenter = float(stored_HW.min() + stored_HW.max()) - 500
    film.WindowWidth = 1.2 * 2**bits_stored
    assert_looks_the_same(saved(tmp_path, film), "+Wi", "1")


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("first", [0, -100])
def test_tables_are_those_of_dcmtk(bits: int, first: int, tmp_path: Path) -> None:
    curve_N = np.rint((np.arange(4096) / 4095) ** 2 * (2**bits - 1))
    signed = first < 0
    stored_HW = np.rint(phantom_HW() * 2047).astype(np.int32) - (60 if signed else 0)
    for keyword, option in (("VOILUTSequence", "+Wl"), ("ModalityLUTSequence", "+Wi")):
        film = put_pixels(build_film(), stored_HW, signed=signed)
        setattr(film, keyword, build_lut(curve_N, first=first, bits=bits))
        film.WindowCenter, film.WindowWidth = 2.0 ** (bits - 1), 2.0**bits
        assert_looks_the_same(saved(tmp_path, film), option, "1")


def test_a_table_of_65536_entries_is_that_of_dcmtk(tmp_path: Path) -> None:
    stored_HW = np.rint(phantom_HW() * 65535).astype(np.uint16)
    film = put_pixels(build_film(), stored_HW, bits_stored=16)
    film.VOILUTSequence = build_lut(np.sqrt(np.arange(65536)) * 255)
    assert film.VOILUTSequence[0].LUTDescriptor[0] == 0
    assert_looks_the_same(saved(tmp_path, film), "+Wl", "1")


def build_twelve_bits() -> Dataset:
    return build_film(**FULL_WINDOW)


def build_odd_eight_bits() -> Dataset:
    stored_HW = np.rint(phantom_HW(255, 223) * 255).astype(np.uint8)
    return put_pixels(build_film(WindowCenter=128, WindowWidth=256), stored_HW, bits_stored=8)


def build_signed() -> Dataset:
    stored_HW = np.rint(phantom_HW() * 4095).astype(np.int32) - 2048
    return put_pixels(build_film(WindowCenter=0, WindowWidth=4096), stored_HW, signed=True)


def build_rgb() -> Dataset:
    tinted_HWC = np.rint(phantom_HW()[..., None] * [255, 250, 240]).astype(np.uint8)
    capture = build_secondary_capture()
    return put_pixels(capture, tinted_HWC, bits_stored=8, photometric_interpretation="RGB")


FILMS = (build_twelve_bits, build_odd_eight_bits, build_signed, build_rgb)
ENCODERS = (
    *(("dcmconv", option) for option in ("+ti", "+tb", "+td")),
    ("dcmcrle",),
    ("dcmcrle", "+fs", "1"),
    *(("dcmcjpeg", option) for option in ("+eb", "+ee", "+el", "+e1")),
    ("dcmcjpeg", "+eb", "+cy"),
    ("dcmcjpeg", "+e1", "+fs", "4", "-ot"),
)


@pytest.mark.parametrize("encoder", ENCODERS, ids=" ".join)
def test_what_dcmtk_encodes_looks_as_dcmtk_decodes_it(encoder: tuple[str, ...], tmp_path: Path) -> None:
    for build in FILMS:
        film, encoded = saved(tmp_path, build()), tmp_path / "encoded.dcm"
        dcmtk(*encoder, film, encoded)
        assert_looks_the_same(encoded, *([] if build is build_rgb else ["+Wi", "1"]))


JPEG_LS = [
    (build, options)
    for build in FILMS
    for options in (("+el",), ("+en",), ("+el", "+il"), ("+el", "+is"), ("+el", "+in"))
    # dcmtk encodes no signed values near-lossless.
    if (build, options) != (build_signed, ("+en",))
]


@pytest.mark.parametrize(("build", "options"), JPEG_LS)
def test_jpeg_ls_of_dcmtk_looks_as_dcmtk_decodes_it(
    build: Any, options: tuple[str, ...], tmp_path: Path
) -> None:
    film, encoded, decoded = saved(tmp_path, build()), tmp_path / "encoded.dcm", tmp_path / "decoded.dcm"
    dcmtk("dcmcjpls", *options, film, encoded)
    # dcmj2pnm reads no JPEG-LS.
    dcmtk("dcmdjpls", encoded, decoded)
    assert_looks_the_same(encoded, *([] if build is build_rgb else ["+Wi", "1"]), rendered_from=decoded)
