"""The heat map: a picture that keeps the film's proportions and grey values, with all text in margins."""

from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import matplotlib
import numpy as np
import pytest
from builders import build_dx, build_film, phantom_HW
from numpy.typing import NDArray
from result_sources import NEGATIVE, POSITIVE, UNDETERMINED, build_context, spot_HW

from dicom_io.capture import build_capture, render_overlay
from dicom_io.errors import InvalidResult
from dicom_io.findings import Finding, Presence, ResultContext
from dicom_io.overlay import Layout, judgement, lay_out

SIZES = [(32, 32), (169, 211), (256, 224), (1024, 1024), (1955, 1841), (3000, 2500), (400, 2000), (2000, 400)]


def _film_part(picture_HW3: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint8]:
    rows = slice(layout.film_top, layout.film_top + layout.film_rows)
    columns = slice(layout.film_left, layout.film_left + layout.film_columns)
    return picture_HW3[rows, columns]


@pytest.mark.parametrize(("rows", "cols"), SIZES)
def test_the_picture_is_at_most_2048_pixels_and_keeps_the_proportions(rows: int, cols: int) -> None:
    layout = lay_out(rows, cols)
    assert max(layout.rows, layout.columns) <= 2048
    assert layout.film_rows / layout.film_columns == pytest.approx(rows / cols, rel=0.01)
    picture_HW3 = render_overlay(np.zeros((rows, cols), np.float32), spot_HW(), POSITIVE)
    assert picture_HW3.shape == (layout.rows, layout.columns, 3)
    assert picture_HW3.dtype == np.uint8


@pytest.mark.parametrize(("rows", "cols"), SIZES)
@pytest.mark.parametrize(
    "context", [POSITIVE, NEGATIVE, UNDETERMINED], ids=["present", "absent", "undetermined"]
)
def test_nothing_but_the_film_stands_where_the_film_is(rows: int, cols: int, context: ResultContext) -> None:
    """A white film under an empty map stays white: any letter or line on it would show."""
    layout = lay_out(rows, cols)
    white_HW = np.ones((rows, cols), np.float32)
    picture_HW3 = render_overlay(white_HW, np.zeros((3, 3), np.float32), context)
    assert _film_part(picture_HW3, layout).min() == 255


def test_the_margins_hold_text_and_are_dark_elsewhere() -> None:
    picture_HW3 = render_overlay(np.zeros((256, 224), np.float32), spot_HW(), POSITIVE)
    layout = lay_out(256, 224)
    assert picture_HW3[: layout.film_top].max() > 200
    assert picture_HW3[layout.film_top + layout.film_rows :].max() > 200
    assert picture_HW3[layout.film_top :, layout.film_left + layout.film_columns :].max() > 200
    assert np.median(picture_HW3[: layout.film_top]) == 0


def test_text_never_reaches_the_edge_of_the_picture() -> None:
    """A long name is written smaller, not cut off."""
    long = replace(POSITIVE, algorithm=replace(POSITIVE.algorithm, name="n" * 64, version="v" * 64))
    for rows, cols in SIZES:
        picture_HW3 = render_overlay(np.zeros((rows, cols), np.float32), np.zeros((2, 2), np.float32), long)
        assert picture_HW3[:, -1].max() == 0
        assert picture_HW3[-1].max() == 0


def test_the_film_keeps_its_displayed_grey_values() -> None:
    """Air dark, bone bright, neither turned nor flipped nor inverted."""
    image_HW = phantom_HW(660, 560)
    layout = lay_out(660, 560)
    picture_HW3 = render_overlay(image_HW, np.zeros((4, 4), np.float32), NEGATIVE)
    film_HW3 = _film_part(picture_HW3, layout)
    assert (film_HW3[..., 0] == film_HW3[..., 1]).all()
    step = 660 / layout.film_rows
    rows = (np.arange(layout.film_rows) * step).astype(int)
    columns = (np.arange(layout.film_columns) * step).astype(int).clip(max=559)
    expected_HW = image_HW[np.ix_(rows, columns)] * 255
    assert np.abs(film_HW3[..., 0] - expected_HW).mean() < 3


def test_a_cold_film_does_not_glow() -> None:
    """A map of a negative film peaks low on the fixed scale; it must not be stretched to the full scale."""
    image_HW = np.full((640, 640), 0.5, np.float32)
    cold_HW3 = _film_part(render_overlay(image_HW, spot_HW(peak=0.1), NEGATIVE), lay_out(640, 640))
    hot_HW3 = _film_part(render_overlay(image_HW, spot_HW(peak=1.0), POSITIVE), lay_out(640, 640))
    assert np.ptp(cold_HW3.astype(int), axis=-1).max() <= 1
    assert np.ptp(hot_HW3.astype(int), axis=-1).max() > 60


@pytest.mark.parametrize("size", [(12, 12), (7, 10), (640, 640), (3000, 3000)])
def test_a_map_of_any_size_covers_the_film(size: tuple[int, int]) -> None:
    image_HW = np.full((800, 700), 0.5, np.float32)
    picture_HW3 = render_overlay(image_HW, spot_HW(*size), POSITIVE)
    film_HW3 = _film_part(picture_HW3, lay_out(800, 700)).astype(int)
    colour_HW = np.ptp(film_HW3, axis=-1)
    y, x = np.argwhere(colour_HW > colour_HW.max() * 0.9).mean(axis=0) / film_HW3.shape[:2]
    assert (y, x) == pytest.approx((0.65, 0.3), abs=0.06)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_map_that_is_not_finite_gives_no_picture(bad: float) -> None:
    map_HW = np.array([[0.0, bad]], np.float32)
    with pytest.raises(InvalidResult, match="heat map"):
        render_overlay(np.zeros((64, 64), np.float32), map_HW, POSITIVE)


@pytest.mark.parametrize("shape", [(0, 5), (4, 4, 3)])
def test_an_image_without_rows_and_columns_gives_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidResult, match="image"):
        render_overlay(np.zeros(shape, np.float32), spot_HW(), POSITIVE)


def test_the_picture_says_what_was_found_with_which_model_and_when() -> None:
    """Each of them changes the bottom margin, and nothing else does."""
    image_HW, bottom = (
        np.zeros((640, 640), np.float32),
        lay_out(640, 640).film_top + lay_out(640, 640).film_rows,
    )

    def margin(context: ResultContext) -> bytes:
        return render_overlay(image_HW, spot_HW(), context)[bottom:].tobytes()

    variants = [
        POSITIVE,
        NEGATIVE,
        UNDETERMINED,
        build_context(probability=0.874),
        replace(POSITIVE, finding=replace(POSITIVE.finding, threshold=0.6)),
        replace(POSITIVE, algorithm=replace(POSITIVE.algorithm, name="other")),
        replace(POSITIVE, algorithm=replace(POSITIVE.algorithm, version="9")),
        replace(POSITIVE, created_at=POSITIVE.created_at + timedelta(seconds=1)),
        replace(UNDETERMINED, finding=replace(UNDETERMINED.finding, band_high=0.6)),
    ]
    assert len({margin(context) for context in variants}) == len(variants)
    assert margin(replace(POSITIVE, reissue_hash="ff")) == margin(POSITIVE)


@pytest.mark.parametrize(("aspect", "expected"), [(1.0, 1.0), (2.0, 2.0), (0.5, 0.5)])
def test_pixels_that_are_not_square_are_shown_as_they_are(aspect: float, expected: float) -> None:
    layout = lay_out(800, 800, aspect)
    assert layout.film_rows / layout.film_columns == pytest.approx(expected, rel=0.01)
    picture_HW3 = render_overlay(
        np.ones((800, 800), np.float32), np.zeros((2, 2), np.float32), NEGATIVE, aspect
    )
    assert picture_HW3.shape == (layout.rows, layout.columns, 3)
    assert _film_part(picture_HW3, layout).min() == 255


@pytest.mark.parametrize(
    ("attributes", "aspect"),
    [
        ({"PixelSpacing": [0.3, 0.15]}, 2.0),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, 0.5),
        ({"ImagerPixelSpacing": None, "PixelAspectRatio": [3, 2]}, 1.5),
        ({"PixelSpacing": [0.2, 0.2], "PixelAspectRatio": [3, 2]}, 1.0),
        ({"ImagerPixelSpacing": [0.001, 9]}, 1.0),
        ({"ImagerPixelSpacing": None, "PixelAspectRatio": [0, 2]}, 1.0),
    ],
)
def test_the_header_says_whether_pixels_are_square(attributes: dict[str, Any], aspect: float) -> None:
    capture = build_capture(build_film(**attributes), phantom_HW(), spot_HW(), POSITIVE)
    expected_HW3 = render_overlay(phantom_HW(), spot_HW(), POSITIVE, aspect)
    assert (capture.pixel_array == expected_HW3).all()


def test_the_capture_is_as_square_as_it_looks() -> None:
    """Shown in square pixels, 0.3 mm high and 0.15 mm wide ones have one spacing."""
    capture = build_capture(build_film(PixelSpacing=[0.3, 0.15]), phantom_HW(), spot_HW(), POSITIVE)
    vertical, horizontal = map(float, capture.PixelSpacing)
    assert vertical == pytest.approx(horizontal, rel=0.01)
    assert vertical * lay_out(256, 224, 2.0).film_rows == pytest.approx(0.3 * 256)


@pytest.mark.parametrize("ratio", [[3, 2], [1, 4], [1, 1]])
def test_a_capture_drawn_in_square_pixels_does_not_say_that_they_are_not(ratio: list[int]) -> None:
    """The film's ratio carried over would stretch the picture a second time (PS3.3 C.7.6.3.1.7)."""
    film = build_film(ImagerPixelSpacing=None, PixelAspectRatio=ratio)
    capture = build_capture(film, phantom_HW(), spot_HW(), POSITIVE)
    assert "PixelAspectRatio" not in capture
    layout = lay_out(*phantom_HW().shape, ratio[0] / ratio[1])
    film_HW3 = _film_part(capture.pixel_array, layout).astype(int)
    y, x = np.argwhere(np.ptp(film_HW3, axis=-1) > 60).mean(axis=0) / film_HW3.shape[:2]
    assert (y, x) == pytest.approx((0.65, 0.3), abs=0.06), "the map is where it was"


def test_no_name_and_no_id_is_on_the_picture() -> None:
    one = build_capture(build_film(), phantom_HW(), spot_HW(), POSITIVE)
    other = build_film(PatientName="Other^Name", PatientID="X-1", AccessionNumber="2", StudyID="3")
    assert build_capture(other, phantom_HW(), spot_HW(), POSITIVE).PixelData == one.PixelData


@pytest.mark.parametrize("value", ["YES", "NO"])
def test_burned_in_text_of_the_film_is_burned_in_text_of_the_capture(value: str) -> None:
    film = build_film(BurnedInAnnotation=value)
    assert build_capture(film, phantom_HW(), spot_HW(), POSITIVE).BurnedInAnnotation == value


def test_headers_of_the_capture() -> None:
    film = build_dx(PixelSpacing=[0.14, 0.16])
    capture = build_capture(film, phantom_HW(), spot_HW(), POSITIVE)
    layout = lay_out(256, 224, 0.14 / 0.16)
    assert capture.ImageType == ["DERIVED", "SECONDARY", "OTHER"]
    assert (capture.ConversionType, capture.Modality, capture.SeriesNumber) == ("WSD", "OT", 9002)
    assert capture.ContentQualification == "RESEARCH"
    assert "research use only" in capture.SeriesDescription
    assert (capture.SamplesPerPixel, capture.BitsAllocated, capture.PlanarConfiguration) == (3, 8, 0)
    assert capture.BurnedInAnnotation == "NO"
    assert capture.LossyImageCompression == "00"
    assert capture.PatientOrientation == ["L", "F"]
    assert [float(mm) for mm in capture.PixelSpacing] == pytest.approx(
        [0.14 * 256 / layout.film_rows, 0.16 * 224 / layout.film_columns]
    )
    source = capture.SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == film.SOPInstanceUID
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert source.SpatialLocationsPreserved == "NO"
    assert "Grad-CAM heat map" in capture.DerivationDescription
    assert "DerivationCodeSequence" not in capture
    assert (capture.PhotometricInterpretation, capture.BitsStored, capture.HighBit) == ("RGB", 8, 7)
    assert capture.BodyPartExamined == "CHEST"
    assert max(capture.Rows, capture.Columns) <= 2048


def test_what_the_film_does_not_say_is_not_invented() -> None:
    film = build_film(PixelSpacing=[0, 0], BodyPartExamined=None)
    capture = build_capture(film, phantom_HW(), spot_HW(), POSITIVE)
    assert capture.BodyPartExamined == "CHEST"
    assert capture["PatientOrientation"].is_empty
    for keyword in ("BurnedInAnnotation", "PixelSpacing", "LossyImageCompression"):
        assert keyword not in capture


def test_losses_of_the_film_are_losses_of_the_capture() -> None:
    film = build_film(
        LossyImageCompression="01",
        LossyImageCompressionRatio="12.5",
        LossyImageCompressionMethod="ISO_15444_1",
    )
    capture = build_capture(film, phantom_HW(), spot_HW(), POSITIVE)
    assert capture.LossyImageCompression == "01"
    assert float(capture.LossyImageCompressionRatio) == 12.5
    assert capture.LossyImageCompressionMethod == "ISO_15444_1"


def test_the_time_in_the_picture_is_the_time_in_the_header() -> None:
    film = build_film(TimezoneOffsetFromUTC="+0545")
    capture = build_capture(film, phantom_HW(), spot_HW(), POSITIVE)
    local = POSITIVE.created_at.astimezone(timezone(timedelta(hours=5, minutes=45)))
    expected_HW3 = render_overlay(phantom_HW(), spot_HW(), replace(POSITIVE, created_at=local))
    assert (capture.pixel_array == expected_HW3).all()
    assert capture.TimeOfSecondaryCapture == "144505.000000"


@pytest.mark.parametrize(
    ("context", "text"),
    [
        (POSITIVE, "COVID-19: PRESENT   probability 87.3 %   threshold 50.0 %"),
        (NEGATIVE, "COVID-19: ABSENT   probability 3.2 %   threshold 50.0 %"),
        (UNDETERMINED, "COVID-19: UNDETERMINED   probability 50.0 %   abstain band 45.0 - 55.0 %"),
    ],
)
def test_the_finding_is_written_with_its_numbers(context: ResultContext, text: str) -> None:
    assert judgement(context.finding) == text


@pytest.mark.parametrize(
    ("probability", "presence", "text"),
    [
        (0.4996, Presence.ABSENT, "ABSENT   probability 49.96 %   threshold 50.00 %"),
        (0.49999, Presence.ABSENT, "ABSENT   probability 49.999 %   threshold 50.000 %"),
        (0.5004, Presence.PRESENT, "PRESENT   probability 50.04 %   threshold 50.00 %"),
        (0.5, Presence.PRESENT, "PRESENT   probability 50.0 %   threshold 50.0 %"),
        (0.4994, Presence.ABSENT, "ABSENT   probability 49.9 %   threshold 50.0 %"),
    ],
)
def test_a_probability_beside_the_threshold_does_not_look_equal_to_it(
    probability: float, presence: Presence, text: str
) -> None:
    finding = Finding(presence, probability, threshold=0.5, band_low=0.5, band_high=0.5)
    assert judgement(finding) == f"COVID-19: {text}"


@pytest.mark.parametrize(("value", "opacity"), [(0.1, 0.0), (0.35, 0.275), (0.6, 0.55), (1.0, 0.55)])
def test_a_map_value_has_one_colour_on_every_film(value: float, opacity: float) -> None:
    grey_HW, map_HW = np.full((640, 640), 0.5, np.float32), np.full((2, 2), value, np.float32)
    film_HW3 = _film_part(render_overlay(grey_HW, map_HW, POSITIVE), lay_out(640, 640))
    colour = np.array(matplotlib.colormaps["autumn"](value)[:3]) * 255
    assert film_HW3[5, 5] == pytest.approx(128 * (1 - opacity) + colour * opacity, abs=2)
