"""A picture goes out in JPEG Baseline, says so, and is the same to the eye and to every validator."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from builders import build_film, phantom_HW
from pydicom import Dataset, dcmread
from pydicom.uid import JPEGBaseline8Bit
from result_sources import POSITIVE, need_validators, spot_HW

from dicom_io import jpeg
from dicom_io.capture import build_capture
from dicom_io.errors import InvalidResult
from dicom_io.jpeg import as_jpeg
from dicom_io.report import encode
from dicom_io.transcode import decompress
from dicom_io.validators import validate_folder


@pytest.fixture(scope="module")
def capture() -> Dataset:
    return build_capture(build_film(), phantom_HW(), spot_HW(), POSITIVE)


def test_the_picture_is_smaller_and_the_same_to_the_eye(capture: Dataset) -> None:
    encoded = encode(capture)
    sent = as_jpeg(encoded)
    assert len(sent) < len(encoded) / 2
    image = dcmread(BytesIO(sent))
    assert image.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    decompress(image)
    seen, meant = (np.frombuffer(of.PixelData, np.uint8).astype(int) for of in (image, capture))
    assert seen.shape == meant.shape
    assert np.abs(seen - meant).mean() < 2


def test_all_else_stays_and_the_loss_is_told(capture: Dataset) -> None:
    image = dcmread(BytesIO(as_jpeg(encode(capture))))
    assert (image.LossyImageCompression, image.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert float(image.LossyImageCompressionRatio) == pytest.approx(
        len(capture.PixelData) / len(image.PixelData), rel=0.05
    )
    assert image.PhotometricInterpretation == "YBR_FULL_422"
    changed = {"PixelData", "PhotometricInterpretation", "LossyImageCompression"}
    changed |= {"LossyImageCompressionRatio", "LossyImageCompressionMethod"}
    for element in capture:
        if element.keyword not in changed:
            assert image[element.keyword] == element


def test_a_film_that_was_lossy_itself_keeps_its_own_loss_told() -> None:
    film = build_film(
        LossyImageCompression="01", LossyImageCompressionRatio="10", LossyImageCompressionMethod="ISO_15444_1"
    )
    image = dcmread(BytesIO(as_jpeg(encode(build_capture(film, phantom_HW(), spot_HW(), POSITIVE)))))
    assert list(image.LossyImageCompressionMethod) == ["ISO_15444_1", "ISO_10918_1"]
    assert float(image.LossyImageCompressionRatio[0]) == 10
    assert len(image.LossyImageCompressionRatio) == 2


def test_what_has_no_picture_stays_as_it_is(capture: Dataset) -> None:
    header = Dataset(dict(capture.items()))
    del header.PixelData
    encoded = encode(header)
    assert as_jpeg(encoded) is encoded


def test_another_picture_is_never_sent(capture: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "_LEVEL", 1)
    with pytest.raises(InvalidResult, match="JPEG: expected a mean difference"):
        as_jpeg(encode(capture))


def test_every_validator_accepts_it(capture: Dataset, tmp_path: Path) -> None:
    need_validators()
    (tmp_path / "picture.dcm").write_bytes(as_jpeg(encode(capture)))
    assert validate_folder(tmp_path) == []
