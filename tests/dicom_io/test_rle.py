"""The heat map is stored in RLE Lossless, and every reader sees the picture that was drawn."""

import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from builders import build_film, phantom_HW
from numpy.typing import NDArray
from parts import need
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from result_sources import POSITIVE, spot_HW

from dicom_io.capture import build_capture
from dicom_io.errors import InvalidResult
from dicom_io.report import build_report, encode
from dicom_io.rle import encode_planes
from dicom_io.selfcheck import check_result


def _noise(rows: int, columns: int, levels: int) -> NDArray[np.uint8]:
    drawn = np.random.default_rng(rows * columns + levels).integers(0, levels, (rows, columns, 3))
    return drawn.astype(np.uint8)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 129), (128, 128), (5, 257), (64, 2048)])
@pytest.mark.parametrize("levels", [1, 2, 256])
def test_a_picture_is_read_back_as_it_was_by_a_decoder_that_is_not_ours(
    rows: int, columns: int, levels: int
) -> None:
    picture_HW3 = _noise(rows, columns, levels)
    decoded, _ = get_decoder(RLELossless).as_array(
        encapsulate([encode_planes(picture_HW3)]),
        decoding_plugin="pydicom",
        rows=rows,
        columns=columns,
        samples_per_pixel=3,
        photometric_interpretation="RGB",
        bits_allocated=8,
        bits_stored=8,
        pixel_representation=0,
        number_of_frames=1,
        planar_configuration=0,
        pixel_keyword="PixelData",
    )
    assert (decoded == picture_HW3).all()


def test_no_run_crosses_from_one_row_to_the_next() -> None:
    """A reader that decodes row by row would meet the wrong one (PS3.5 section G.3.1)."""
    grey_HW3 = np.full((2, 4, 3), 7, np.uint8)
    segment = encode_planes(grey_HW3)[64:]
    assert segment == b"\xfd\x07\xfd\x07" * 3


def test_the_heat_map_is_stored_compressed_and_dcmtk_shows_what_was_drawn(tmp_path: Path) -> None:
    film = build_film(PixelSpacing=[0.3, 0.15])
    capture = build_capture(film, phantom_HW(), spot_HW(), POSITIVE)
    encoded = encode(capture)
    stored = dcmread(BytesIO(encoded))
    assert stored.file_meta.TransferSyntaxUID == RLELossless
    assert stored.PlanarConfiguration == 0
    assert len(encoded) < len(capture.PixelData)
    assert capture.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    for keyword in ("PixelSpacing", "PatientOrientation", "LossyImageCompression"):
        assert stored.get(keyword) == capture.get(keyword)
    path, shown = tmp_path / "capture.dcm", tmp_path / "capture.png"
    path.write_bytes(encoded)
    subprocess.run([need("dcmj2pnm", "dcmtk"), "--write-png", path, shown], check=True, timeout=60)
    with Image.open(shown) as picture:
        assert (np.asarray(picture.convert("RGB")) == capture.pixel_array).all()
    check_result(encoded, film, POSITIVE)


def test_a_picture_that_would_grow_stays_as_it_is() -> None:
    film = build_film()
    capture = build_capture(film, phantom_HW(), spot_HW(), POSITIVE)
    capture.PixelData = _noise(capture.Rows, capture.Columns, 256).tobytes()
    encoded = encode(capture)
    assert dcmread(BytesIO(encoded)).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    check_result(encoded, film, POSITIVE)


def test_a_report_is_never_compressed() -> None:
    report = build_report(build_film(), POSITIVE, None)
    assert dcmread(BytesIO(encode(report))).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_a_compressed_picture_that_lacks_a_segment_is_stopped_by_the_gate() -> None:
    film = build_film()
    encoded = encode(build_capture(film, phantom_HW(), spot_HW(), POSITIVE))
    header = encoded.index(b"\x03\x00\x00\x00\x40\x00\x00\x00")
    damaged = encoded[:header] + b"\x02" + encoded[header + 1 :]
    with pytest.raises(InvalidResult, match="PixelData"):
        check_result(damaged, film, POSITIVE)
