"""The summary page: everything on one picture of 1024 pixels, for PACS that show no report."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from builders import build_film, phantom_HW
from numpy.typing import NDArray
from result_sources import NEGATIVE, POSITIVE, UNDETERMINED, build_context, spot_HW

from dicom_io.errors import InvalidResult
from dicom_io.findings import ResultContext
from dicom_io.summary import build_summary, render_summary
from dicom_io.uids import Kind, result_uid

SC = "1.2.840.10008.5.1.4.1.1.7"
TEXT_TOP = 664
"""Below it stand finding and numbers, above it film and map."""


def test_headers_of_the_summary() -> None:
    film = build_film(PixelSpacing=[0.14, 0.14], PatientOrientation=["L", "F"], BurnedInAnnotation="YES")
    page = build_summary(film, phantom_HW(), spot_HW(), POSITIVE)
    assert (page.SOPClassUID, page.Modality, page.ConversionType) == (SC, "OT", "WSD")
    assert page.ImageType == ["DERIVED", "SECONDARY", "OTHER"]
    assert (page.SeriesNumber, page.Rows, page.Columns) == (9003, 1024, 1024)
    assert (page.PhotometricInterpretation, page.PlanarConfiguration) == ("RGB", 0)
    assert "research use only" in page.SeriesDescription
    assert page.ContentQualification == "RESEARCH"
    assert page.SOPInstanceUID == result_uid(POSITIVE, film.SOPInstanceUID, Kind.SUMMARY, SC)
    assert page.SeriesInstanceUID == result_uid(POSITIVE, film.SOPInstanceUID, Kind.SUMMARY_SERIES, SC)
    assert page.BurnedInAnnotation == "YES"
    source = page.SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == film.SOPInstanceUID
    assert source.SpatialLocationsPreserved == "NO"


def test_a_page_with_two_pictures_claims_no_place_in_the_patient() -> None:
    film = build_film(PixelSpacing=[0.14, 0.14], PatientOrientation=["L", "F"])
    page = build_summary(film, phantom_HW(), spot_HW(), POSITIVE)
    assert "PixelSpacing" not in page
    assert page["PatientOrientation"].is_empty


def test_the_summary_has_the_patient_and_study_of_the_film() -> None:
    film = build_film()
    page = build_summary(film, phantom_HW(), spot_HW(), POSITIVE)
    for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "StudyInstanceUID", "AccessionNumber"):
        assert page[keyword].value == film[keyword].value


def test_no_name_and_no_id_is_on_the_page() -> None:
    one = build_summary(build_film(), phantom_HW(), spot_HW(), POSITIVE)
    other = build_film(PatientName="Other^Name", PatientID="X-1", AccessionNumber="2", StudyID="3")
    assert build_summary(other, phantom_HW(), spot_HW(), POSITIVE).PixelData == one.PixelData


def _algorithm(**changes: object) -> Callable[[ResultContext], ResultContext]:
    return lambda context: replace(context, algorithm=replace(context.algorithm, **changes))  # type: ignore[arg-type]


CHANGES: dict[str, Callable[[ResultContext], ResultContext]] = {
    "decision": lambda _: replace(NEGATIVE, finding=replace(NEGATIVE.finding, probability=0.873)),
    "probability": lambda _: build_context(probability=0.874),
    "threshold": lambda context: replace(context, finding=replace(context.finding, threshold=0.51)),
    "abstain band": lambda context: replace(context, finding=replace(context.finding, band_high=0.56)),
    "no abstain band": lambda context: replace(context, finding=replace(context.finding, band_high=0.45)),
    "model": _algorithm(name="other"),
    "version": _algorithm(version="1.2.1"),
    "weights": _algorithm(weights_sha256="ff" * 32),
    "calibration": _algorithm(parameters=("calibration: Platt",)),
    "node": lambda context: replace(context, device=replace(context.device, node_id="node-2")),
    "software": lambda context: replace(context, device=replace(context.device, software_version="0.2")),
    "time": lambda context: replace(context, created_at=context.created_at + timedelta(seconds=1)),
}


def test_the_page_says_everything() -> None:
    """Each fact changes the text, and no fact changes the pictures."""
    pages = [render_summary(phantom_HW(), spot_HW(), POSITIVE)]
    pages += [render_summary(phantom_HW(), spot_HW(), change(POSITIVE)) for change in CHANGES.values()]
    assert len({page_HW3[TEXT_TOP:].tobytes() for page_HW3 in pages}) == len(pages)
    assert len({page_HW3[:TEXT_TOP].tobytes() for page_HW3 in pages}) == 1


def test_a_model_that_never_abstains_has_no_band_on_its_page() -> None:
    """Two limits that are the same are no band, wherever they lie."""
    pages = [
        render_summary(
            phantom_HW(),
            spot_HW(),
            replace(POSITIVE, finding=replace(POSITIVE.finding, band_low=limit, band_high=limit)),
        )
        for limit in (0.3, 0.5)
    ]
    assert (pages[0] == pages[1]).all()


@pytest.mark.parametrize("size", [(256, 224), (3000, 300), (300, 3000), (8, 8)])
def test_both_pictures_show_the_whole_film_and_the_left_one_without_colour(size: tuple[int, int]) -> None:
    page_HW3 = render_summary(np.full(size, 0.5, np.float32), np.ones((4, 4), np.float32), POSITIVE)
    panels_HW3 = page_HW3[92:640].astype(int)
    left_HW3, right_HW3 = panels_HW3[:, 24:468], panels_HW3[:, 492:936]
    shown_HW = (left_HW3 == 128).all(axis=-1)
    tall, wide = shown_HW.any(axis=1).sum(), shown_HW.any(axis=0).sum()
    assert tall / wide == pytest.approx(size[0] / size[1], rel=0.05)
    assert np.ptp(left_HW3[shown_HW], axis=-1).max() == 0
    assert np.ptp(right_HW3[shown_HW], axis=-1).min() > 30


def test_pixels_that_are_not_square_are_shown_as_they_are() -> None:
    page_HW3 = render_summary(np.ones((200, 200), np.float32), np.zeros((4, 4), np.float32), POSITIVE, 0.5)
    white_HW = (page_HW3[92:640, 24:468] == 255).all(axis=-1)
    assert white_HW.any(axis=1).sum() / white_HW.any(axis=0).sum() == pytest.approx(0.5, rel=0.02)


def rows_with_ink(page_HW3: NDArray[np.uint8]) -> int:
    """Return how many rows of the text, right of the labels, have ink."""
    return int((page_HW3[800:, 180:] > 100).any(axis=(1, 2)).sum())


def test_a_long_sentence_is_broken_before_it_is_made_small() -> None:
    """In type of 18 pixels two lines of capitals take as many rows twice, not one row of specks."""
    words = " ".join(["CALIBRATED"] * 14)
    short, long = (
        render_summary(phantom_HW(), spot_HW(), _algorithm(parameters=(f"calibration: {text}",))(POSITIVE))
        for text in ("CALIBRATED", words)
    )
    assert rows_with_ink(long) >= rows_with_ink(short) + 10
    assert long[-10:].max() == 0
    assert long[:, -20:].max() < 160


def test_long_names_stay_on_the_page() -> None:
    long = _algorithm(name="n" * 64, version="v" * 64, parameters=(f"calibration: {'c' * 200}",))(
        UNDETERMINED
    )
    page_HW3 = render_summary(phantom_HW(), spot_HW(), long)
    assert page_HW3[:, -20:].max() < 160
    assert page_HW3[-10:].max() == 0


def test_a_map_that_is_not_finite_gives_no_page() -> None:
    with pytest.raises(InvalidResult, match="heat map"):
        build_summary(build_film(), phantom_HW(), np.array([[np.nan]], np.float32), POSITIVE)


def test_the_same_arguments_give_the_same_page() -> None:
    one, two = (build_summary(build_film(), phantom_HW(), spot_HW(), POSITIVE) for _ in range(2))
    assert one == two
