"""The evidence view: what a result inherits, read without changing the film."""

from io import BytesIO

import pytest
from builders import build_film, to_bytes
from pydicom import dcmread
from pydicom.dataset import Dataset
from result_sources import ODD_SOURCES

from dicom_io.charset import settle_character_set
from dicom_io.errors import InvalidResult
from dicom_io.evidence import TYPE_2, inherit, view_evidence

NAMES = {
    "latin_1": "Grün^Åsa",
    "gb18030": "Wang^XiaoDong=王^小东",
    "iso_2022_japanese": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "iso_2022_korean": "Hong^Gildong=洪^吉洞=홍^길동",
    "undeclared_utf_8": "Grün^Åsa",
    "undeclared_latin_1": "Grün^Åsa",
    "undeclared_japanese": "Yamada^Tarou=山田^太郎",
    "single_component_name": "Cher",
}


def _read(film: Dataset) -> Dataset:
    return dcmread(BytesIO(to_bytes(film)))


@pytest.mark.parametrize("source", NAMES)
def test_a_name_is_read_in_its_character_set(source: str) -> None:
    film = _read(ODD_SOURCES[source]())
    assert str(view_evidence(film).headers.PatientName) == NAMES[source]


# pydicom drops escape sequences that nothing declares from a name as soon as the name is read.
@pytest.mark.parametrize("source", sorted(NAMES.keys() - {"undeclared_japanese"}))
def test_the_view_is_the_same_after_others_have_read_the_headers(source: str) -> None:
    untouched, touched = _read(ODD_SOURCES[source]()), _read(ODD_SOURCES[source]())
    str(touched)  # reads every element
    assert view_evidence(untouched).headers == view_evidence(touched).headers


@pytest.mark.parametrize("source", ODD_SOURCES)
def test_the_film_stays_as_it_was(source: str) -> None:
    film = _read(ODD_SOURCES[source]())
    before = dict(film.items())
    view_evidence(film)
    assert dict(film.items()) == before


def test_missing_type_2_attributes_become_empty() -> None:
    headers = view_evidence(ODD_SOURCES["nothing_but_type_1"]()).headers
    assert all(headers[keyword].is_empty for keyword in TYPE_2)
    assert "PatientAge" not in headers


def test_odd_values_are_repaired_or_left_out() -> None:
    headers = view_evidence(ODD_SOURCES["odd_values"]()).headers
    assert headers.PatientAge == "062Y"
    assert headers.PatientBirthDate == "19610305"
    assert headers.StudyDate == "20240102"
    assert headers.StudyTime == "101530"
    assert headers.PatientSex == "F"
    assert headers.StudyID == ""
    for keyword in (
        "ContentDate",
        "PixelSpacing",
        "ImagerPixelSpacing",
        "PatientSize",
        "PatientWeight",
        "StudyDescription",
        "PatientOrientation",
        "BurnedInAnnotation",
        "TimezoneOffsetFromUTC",
        "BodyPartExamined",
    ):
        assert keyword not in headers


def test_incomplete_sequence_items_are_left_out() -> None:
    headers = view_evidence(ODD_SOURCES["sequences"]()).headers
    assert [item.PatientID for item in headers.OtherPatientIDsSequence] == ["OTHER-1"]
    assert [item.CodeValue for item in headers.ProcedureCodeSequence] == ["399208008"]
    assert headers.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"


def test_a_film_coded_with_loss_is_lossy_whatever_its_header_says() -> None:
    film = build_film(LossyImageCompression="00")
    film.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
    headers = view_evidence(film).headers
    assert headers.LossyImageCompression == "01"
    assert headers.LossyImageCompressionMethod == "ISO_10918_1"


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_film_without_a_uid_gives_no_result(keyword: str) -> None:
    film = build_film()
    del film[keyword]
    with pytest.raises(InvalidResult, match=keyword):
        view_evidence(film)


@pytest.mark.parametrize("patient_id", ["SECRET" * 11, ["SECRET", "X"]])
def test_a_patient_id_that_cannot_be_copied_gives_no_result_and_is_not_told(patient_id: object) -> None:
    with pytest.raises(InvalidResult) as raised:
        view_evidence(build_film(PatientID=patient_id))
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("ascii_without_character_set", None),
        ("latin_1", "ISO_IR 100"),
        ("gb18030", "GB18030"),
        ("iso_2022_japanese", ["", "ISO 2022 IR 87"]),
        ("iso_2022_korean", ["", "ISO 2022 IR 149"]),
        ("undeclared_latin_1", "ISO_IR 192"),
        ("latin_1_under_an_empty_first_set", "ISO_IR 192"),
        ("unknown_character_set", None),
    ],
)
def test_the_character_set_is_the_source_s_own_when_every_text_survives(
    source: str, expected: str | list[str] | None
) -> None:
    evidence = view_evidence(ODD_SOURCES[source]())
    result = Dataset()
    inherit(result, evidence)
    settle_character_set(result, evidence.character_set)
    assert result.get("SpecificCharacterSet") == expected


def test_a_text_outside_the_source_s_set_makes_the_result_utf_8() -> None:
    evidence = view_evidence(ODD_SOURCES["latin_1"]())
    result = Dataset()
    inherit(result, evidence)
    result.DeviceSerialNumber = "узел-1"
    settle_character_set(result, evidence.character_set)
    assert result.SpecificCharacterSet == "ISO_IR 192"
