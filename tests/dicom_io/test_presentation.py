"""The presentation state: text and outline over the film, which a viewer shows as we read it.

The grey values are proved by dcmtk: `dcmp2pgm` renders each film with its presentation state, and the
picture is the one of `read_pixels`.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_dx, build_film, build_secondary_capture, compress, put_pixels, set_attributes
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import JPEG2000Lossless
from result_sources import NEGATIVE, POSITIVE, UNDETERMINED, need_program, need_validators, spot_HW

from dicom_io.errors import InvalidResult
from dicom_io.heat import OUTLINE_LEVEL, outline
from dicom_io.pixels import read_pixels
from dicom_io.presentation import build_presentation
from dicom_io.report import encode
from dicom_io.softcopy import is_monochrome
from dicom_io.uids import Kind, result_uid
from dicom_io.validators import inspect_folder

GSPS = "1.2.840.10008.5.1.4.1.1.11.1"
COLD_HW = spot_HW(peak=OUTLINE_LEVEL - 0.01)


def _texts(state: Dataset) -> list[str]:
    objects = [
        each for item in state.GraphicAnnotationSequence for each in item.get("TextObjectSequence", [])
    ]
    return [line for each in objects for line in each.UnformattedTextValue.splitlines()]


def _graphics(state: Dataset) -> list[Dataset]:
    return [
        each for item in state.GraphicAnnotationSequence for each in item.get("GraphicObjectSequence", [])
    ]


def test_headers_of_the_presentation_state() -> None:
    film = build_film(PixelSpacing=[0.14, 0.16])
    state = build_presentation(film, spot_HW(), POSITIVE)
    assert (state.SOPClassUID, state.Modality, state.SeriesNumber) == (GSPS, "PR", 9004)
    assert state.SOPInstanceUID == result_uid(POSITIVE, film.SOPInstanceUID, Kind.PRESENTATION, GSPS)
    assert state.SeriesInstanceUID == result_uid(
        POSITIVE, film.SOPInstanceUID, Kind.PRESENTATION_SERIES, GSPS
    )
    assert (state.ContentLabel, state.ContentCreatorName) == ("AI_COVID_19", "cxr-worker^")
    assert "research use only" in state.SeriesDescription
    assert state.ContentQualification == "RESEARCH"
    assert (state.PresentationCreationDate, state.PresentationCreationTime) == ("20240103", "090005.000000")
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber"):
        assert state[keyword].value == film[keyword].value
    series = state.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == film.SeriesInstanceUID
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == film.SOPInstanceUID


@pytest.mark.parametrize(
    ("attributes", "keyword", "value"),
    [
        ({"PixelSpacing": [0.14, 0.16]}, "PresentationPixelSpacing", [0.14, 0.16]),
        ({"ImagerPixelSpacing": [0.3, 0.2]}, "PresentationPixelAspectRatio", [3, 2]),
        ({"ImagerPixelSpacing": None, "PixelAspectRatio": [4, 3]}, "PresentationPixelAspectRatio", [4, 3]),
        ({"ImagerPixelSpacing": [0, 0]}, "PresentationPixelAspectRatio", [1, 1]),
        ({"ImagerPixelSpacing": [0.001, 9]}, "PresentationPixelAspectRatio", [1, 1]),
    ],
)
def test_the_whole_film_is_shown_with_its_proportions(
    attributes: dict[str, Any], keyword: str, value: list[float]
) -> None:
    (area,) = build_presentation(build_film(**attributes), spot_HW(), POSITIVE).DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [224, 256]
    assert area.PresentationSizeMode == "SCALE TO FIT"
    assert [float(number) for number in area[keyword].value] == value
    assert ("PresentationPixelSpacing" in area) != ("PresentationPixelAspectRatio" in area)


def test_the_outline_lies_where_the_map_does() -> None:
    (graphic,) = _graphics(build_presentation(build_film(), spot_HW(), POSITIVE))
    assert (graphic.GraphicType, graphic.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")
    points_N2 = np.array(graphic.GraphicData).reshape(-1, 2)
    assert len(points_N2) == graphic.NumberOfGraphicPoints
    assert (points_N2[0] == points_N2[-1]).all()
    assert points_N2 == pytest.approx(np.round(outline(spot_HW(), 256, 224)[0], 2), abs=0.01)
    assert points_N2.mean(axis=0) == pytest.approx([0.3 * 224, 0.65 * 256], abs=8)


@pytest.mark.parametrize(
    ("context", "lines"),
    [
        (POSITIVE, ["COVID-19: PRESENT", "probability 87.3 %, threshold 50.0 %"]),
        (NEGATIVE, ["COVID-19: ABSENT", "probability 3.2 %, threshold 50.0 %"]),
        (UNDETERMINED, ["COVID-19: UNDETERMINED", "probability 50.0 %, abstain band 45.0 - 55.0 %"]),
    ],
)
def test_the_text_says_finding_numbers_and_warning(context: Any, lines: list[str]) -> None:
    hot = _texts(build_presentation(build_film(), spot_HW(), context))
    assert hot == ["RESEARCH ONLY - NOT FOR DIAGNOSIS", *lines, "outline: map from 0.25, highest 0.88"]


def test_a_cold_map_gives_text_without_outline() -> None:
    state = build_presentation(build_film(), COLD_HW, NEGATIVE)
    assert _graphics(state) == []
    assert _texts(state)[-1] == "no region: map below 0.25, highest 0.23"
    assert [layer.GraphicLayer for layer in state.GraphicLayerSequence] == ["AI_TEXT"]


def test_text_and_outline_can_be_hidden_apart() -> None:
    state = build_presentation(build_film(), spot_HW(), POSITIVE)
    assert {layer.GraphicLayer for layer in state.GraphicLayerSequence} == {"AI_TEXT", "AI_REGION"}
    assert {item.GraphicLayer for item in state.GraphicAnnotationSequence} == {"AI_TEXT", "AI_REGION"}


def test_the_text_stands_above_the_shoulder() -> None:
    (item,) = (
        each
        for each in build_presentation(build_film(), spot_HW(), POSITIVE).GraphicAnnotationSequence
        if "TextObjectSequence" in each
    )
    (text,) = item.TextObjectSequence
    right, bottom = text.BoundingBoxBottomRightHandCorner
    assert right < 0.45 * 224
    assert bottom < 0.12 * 256


def _lut(entries: int, first: int, bits: int, top: int, **attributes: Any) -> Dataset:
    item = Dataset()
    item["LUTDescriptor"] = DataElement(
        "LUTDescriptor", "SS" if first < 0 else "US", [entries % 2**16, first, bits]
    )
    item["LUTData"] = DataElement("LUTData", "OW", np.linspace(0, top, entries).astype("<u2").tobytes())
    return set_attributes(item, attributes)  # type: ignore[return-value]


def _signed(**attributes: Any) -> FileDataset:
    film = build_film()
    put_pixels(film, film.pixel_array.astype(np.int32) - 2048, bits_stored=12, signed=True)
    return set_attributes(film, attributes)  # type: ignore[return-value]


def _eight_bits(**attributes: Any) -> FileDataset:
    film = build_film()
    # Neither 0 nor 255 occurs: they are black and white all the same.
    put_pixels(film, np.clip(film.pixel_array >> 4, 20, 200), bits_stored=8)
    return set_attributes(film, attributes)  # type: ignore[return-value]


FILMS: dict[str, Callable[[], FileDataset]] = {
    "without_window": build_film,
    "eight_bits_without_window": _eight_bits,
    "window": lambda: build_film(WindowCenter=1500, WindowWidth=1800),
    "several_windows": lambda: build_film(WindowCenter=[1500, 100], WindowWidth=[1800, 10]),
    "impossible_window": lambda: build_film(WindowCenter=1500, WindowWidth=0),
    "narrow_window": lambda: build_film(WindowCenter="1500.25", WindowWidth="0.5", VOILUTFunction="SIGMOID"),
    "narrow_window_after_rescale": lambda: build_film(
        RescaleSlope="0.0005",
        RescaleIntercept="0.1",
        RescaleType="OD",
        WindowCenter="0.9",
        WindowWidth="0.8",
        VOILUTFunction="LINEAR_EXACT",
    ),
    "sigmoid": lambda: build_film(WindowCenter=1500, WindowWidth=900, VOILUTFunction="SIGMOID"),
    "linear_exact": lambda: build_film(WindowCenter=1500, WindowWidth=900, VOILUTFunction="LINEAR_EXACT"),
    "monochrome1": lambda: build_film(
        PhotometricInterpretation="MONOCHROME1", WindowCenter=1500, WindowWidth=1800
    ),
    "monochrome1_without_window": lambda: build_film(PhotometricInterpretation="MONOCHROME1"),
    "inverse_shape": lambda: build_dx(PresentationLUTShape="INVERSE"),
    "rescale": lambda: build_film(
        RescaleSlope="2", RescaleIntercept="-1000", WindowCenter=2000, WindowWidth=3000
    ),
    "falling_rescale": lambda: build_film(RescaleSlope="-1", RescaleIntercept="4095"),
    "signed": lambda: _signed(WindowCenter=-500, WindowWidth=1800),
    "signed_without_window": _signed,
    "signed_voi_lut": lambda: _signed(VOILUTSequence=[_lut(4096, -2048, 12, 4095)]),
    "voi_lut_of_12_bits": lambda: build_film(VOILUTSequence=[_lut(3000, 500, 12, 4095)]),
    "voi_lut_of_10_bits": lambda: build_film(VOILUTSequence=[_lut(4096, 0, 10, 1023)]),
    "dark_voi_lut": lambda: build_film(VOILUTSequence=[_lut(4096, 0, 12, 1500)]),
    "dark_sigmoid": lambda: build_film(WindowCenter=9000, WindowWidth=4000, VOILUTFunction="SIGMOID"),
    "voi_lut_of_65536_entries": lambda: build_film(VOILUTSequence=[_lut(65536, 0, 16, 65535)]),
    "modality_lut": lambda: build_film(
        ModalityLUTSequence=[_lut(4096, 0, 16, 1023, ModalityLUTType="OD")], WindowCenter=400, WindowWidth=500
    ),
    "modality_and_voi_lut": lambda: build_film(
        ModalityLUTSequence=[_lut(4096, 0, 16, 1023, ModalityLUTType="OD")],
        VOILUTSequence=[_lut(1024, 0, 12, 4095)],
    ),
    "modality_lut_without_window": lambda: build_film(ModalityLUTSequence=[_lut(4096, 0, 16, 1023)]),
    "compressed": lambda: compress(build_film(), JPEG2000Lossless),
    "secondary_capture": build_secondary_capture,
    "real": lambda: dcmread(get_testdata_file("RG1_UNCR.dcm", download=False)),
}


@pytest.mark.parametrize("name", FILMS)
def test_dcmtk_shows_the_film_with_it_as_we_read_it(name: str, tmp_path: Path) -> None:
    need_program("dcmp2pgm", "dcmtk")
    if name == "real" and get_testdata_file("RG1_UNCR.dcm", download=False) is None:
        pytest.skip("not installed: pydicom-data")
    film = FILMS[name]()
    expected_HW = read_pixels(film)
    state = build_presentation(film, spot_HW(), POSITIVE)
    (tmp_path / "state.dcm").write_bytes(encode(state))
    if film.file_meta.TransferSyntaxUID.is_compressed:
        film.decompress(generate_instance_uid=False)
    film.save_as(tmp_path / "film.dcm")
    command = ["dcmp2pgm", "-p", str(tmp_path / "state.dcm"), str(tmp_path / "film.dcm")]
    subprocess.run([*command, str(tmp_path / "shown.pgm")], check=True, capture_output=True)
    with Image.open(tmp_path / "shown.pgm") as picture:
        shown_HW = np.asarray(picture) / 255.0
    assert shown_HW.shape == expected_HW.shape
    # dcmp2pgm computes in 8 bits.
    assert np.abs(shown_HW - expected_HW).max() < 1.5 / 255


def test_no_validator_finds_an_error_in_any_of_them(tmp_path: Path) -> None:
    need_validators("dciodvfy")
    for name in FILMS.keys() - {"real"}:
        state = build_presentation(FILMS[name](), spot_HW(), POSITIVE)
        (tmp_path / f"{name}.dcm").write_bytes(encode(state))
    findings = inspect_folder(tmp_path, tools=["dciodvfy"])
    assert findings.files == len(FILMS) - 1
    assert not findings.errors + findings.warnings, "\n".join(map(str, findings.errors + findings.warnings))


def test_the_film_is_not_changed() -> None:
    film = build_film()
    before = encode(film)
    build_presentation(film, spot_HW(), POSITIVE)
    assert encode(film) == before


def test_the_same_arguments_give_the_same_state() -> None:
    one, two = (build_presentation(build_film(), spot_HW(), POSITIVE) for _ in range(2))
    assert encode(one) == encode(two)


@pytest.mark.parametrize("interpretation", ["RGB", "PALETTE COLOR", "YBR_FULL", ""])
def test_a_film_in_colour_has_no_grayscale_state(interpretation: str) -> None:
    film = build_secondary_capture()
    film.PhotometricInterpretation = interpretation
    assert not is_monochrome(film)
    with pytest.raises(InvalidResult, match="monochrome"):
        build_presentation(film, spot_HW(), POSITIVE)


def test_a_film_of_one_grey_needs_no_window() -> None:
    film = put_pixels(build_film(), np.full((40, 40), 7, np.uint16))
    assert "SoftcopyVOILUTSequence" not in build_presentation(film, spot_HW(), POSITIVE)


def test_a_map_that_is_not_finite_gives_no_state() -> None:
    with pytest.raises(InvalidResult, match="heat map"):
        build_presentation(build_film(), np.array([[np.inf]], np.float32), POSITIVE)
