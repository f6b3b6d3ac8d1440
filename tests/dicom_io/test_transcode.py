"""A compressed object goes out as it is stored where that is taken, else uncompressed, as the same image."""

from pathlib import Path

import numpy as np
import pytest
from builders import build_film, build_secondary_capture, compress, phantom_HW, put_pixels, to_bytes
from pydicom import FileDataset, dcmwrite, uid
from scripted_pacs import EXPLICIT_LE, IMPLICIT_LE, ScriptedPacs

from dicom_io import scu
from dicom_io.association import Target
from dicom_io.errors import UnreadablePixels
from dicom_io.scu import Outcome

LOSSLESS = (
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
)
LOSSY = (uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)


def target(pacs: ScriptedPacs) -> Target:
    return Target(pacs.aet, "127.0.0.1", pacs.port, "CXRWORKER", 20)


def sent(tmp_path: Path, film: FileDataset, *syntaxes: str) -> tuple[FileDataset, str]:
    """What arrives at a PACS that takes these syntaxes, and in which one."""
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    with ScriptedPacs.running(syntaxes=syntaxes) as pacs:
        answer = scu.send_file(target(pacs), tmp_path / "film.dcm")
    assert answer.outcome == Outcome.SENT
    ((_, syntax),) = pacs.stores
    (arrived,) = pacs.held.values()
    return arrived, syntax  # type: ignore[return-value]


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY], ids=lambda syntax: syntax.name)
def test_what_is_compressed_goes_out_as_it_is_stored_where_that_is_taken(tmp_path: Path, syntax: str) -> None:
    film = compress(build_film(), syntax)
    arrived, used = sent(tmp_path, film, EXPLICIT_LE, IMPLICIT_LE, syntax)
    assert used == syntax
    assert arrived.PixelData == film.PixelData


@pytest.mark.parametrize("taken", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
def test_what_is_compressed_without_loss_arrives_as_the_same_object_uncompressed(
    tmp_path: Path, syntax: str, taken: str
) -> None:
    film = build_film()
    arrived, used = sent(tmp_path, compress(build_film(), syntax), taken)
    assert used == taken
    assert arrived.PixelData == film.PixelData
    arrived.PixelData = film.PixelData
    arrived["PixelData"].VR = film["PixelData"].VR
    assert arrived == film, "the whole header, its SOP Instance UID too"


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda syntax: syntax.name)
def test_what_lost_a_little_loses_no_more(tmp_path: Path, syntax: str) -> None:
    film = build_film()
    lossy = compress(build_film(LossyImageCompression="01"), syntax)
    arrived, _ = sent(tmp_path, lossy, IMPLICIT_LE)
    assert arrived.SOPInstanceUID == film.SOPInstanceUID
    assert arrived.LossyImageCompression == "01"
    assert arrived.PixelData == lossy.pixel_array.tobytes()
    before = np.frombuffer(film.PixelData, "<u2").astype(int)
    after = np.frombuffer(arrived.PixelData, "<u2").astype(int)
    assert np.abs(after - before).max() <= 150, "it is that film"


@pytest.mark.parametrize(
    ("syntax", "interpretation"),
    [(uid.RLELossless, "RGB"), (uid.JPEG2000Lossless, "YBR_RCT"), (uid.JPEGBaseline8Bit, "YBR_FULL_422")],
)
def test_colours_arrive_as_rgb_and_say_so(tmp_path: Path, syntax: str, interpretation: str) -> None:
    grey_HW = phantom_HW()
    rgb_HWC = np.rint(np.stack([grey_HW, grey_HW * 0.5, 1 - grey_HW], axis=-1) * 255).astype(np.uint8)
    source = build_secondary_capture()
    put_pixels(source, rgb_HWC, bits_stored=8, photometric_interpretation="RGB")
    stored = compress(source, syntax)
    stored.PhotometricInterpretation = interpretation
    arrived, _ = sent(tmp_path, stored, EXPLICIT_LE)
    assert (arrived.PhotometricInterpretation, arrived.PlanarConfiguration) == ("RGB", 0)
    after_HWC = np.frombuffer(arrived.PixelData, np.uint8).reshape(rgb_HWC.shape)
    assert np.abs(after_HWC.astype(int) - rgb_HWC).max() <= (0 if "JPEG Base" not in syntax.name else 40)


def test_a_result_that_is_stored_compressed_is_sent_uncompressed_too() -> None:
    film = compress(build_film(), uid.RLELossless)
    with ScriptedPacs.running() as pacs:
        assert scu.store(target(pacs), to_bytes(film)).outcome == Outcome.SENT
    assert pacs.stores == [(film.SOPInstanceUID, EXPLICIT_LE)]
    assert pacs.held[film.SOPInstanceUID].PixelData == build_film().PixelData


def test_pixels_that_cannot_be_decoded_are_not_sent(tmp_path: Path) -> None:
    film = compress(build_film(), uid.JPEGLSLossless)
    film.PixelData = film.PixelData[:200] + bytes(len(film.PixelData) - 200)
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    told = pytest.raises(UnreadablePixels, match="expected pixels that can be decoded")
    with ScriptedPacs.running() as pacs, told:
        scu.send_file(target(pacs), tmp_path / "film.dcm")
    assert pacs.stores == []


def test_big_endian_goes_to_who_takes_it_alone(tmp_path: Path) -> None:
    film = build_film()
    film.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    swapped = np.frombuffer(film.PixelData, "<u2").astype(">u2").tobytes()
    film.PixelData = swapped
    dcmwrite(tmp_path / "film.dcm", film, implicit_vr=False, little_endian=False, force_encoding=True)
    with ScriptedPacs.running() as pacs:
        answer = scu.send_file(target(pacs), tmp_path / "film.dcm")
    assert (answer.outcome, answer.words) == (Outcome.NEVER, "Explicit VR Big Endian not accepted")
    with ScriptedPacs.running(syntaxes=(uid.ExplicitVRBigEndian,)) as pacs:
        assert scu.send_file(target(pacs), tmp_path / "film.dcm").outcome == Outcome.SENT
    assert pacs.stores == [(film.SOPInstanceUID, uid.ExplicitVRBigEndian)]
