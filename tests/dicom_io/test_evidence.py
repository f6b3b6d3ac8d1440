"""The evidence view: what a result inherits, read without changing the film."""

from io import BytesIO

import pytest
from builders import build_film, to_bytes
from pydicom import Sequence, config, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
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


@pytest.mark.parametrize("keyword", ["ProcedureCodeSequence", "IssuerOfAccessionNumberSequence", "StudyDate"])
@pytest.mark.parametrize(
    "inside", [b"no items", b"\x01\x02", b"\xfe\xff\x00\xe0\x08\x00\x00\x00\x01.\x1b\\BA\x00\x00"]
)
def test_a_sequence_with_damage_inside_is_left_out(keyword: str, inside: bytes) -> None:
    film = _read(build_film())
    tag = Tag(keyword)
    film[tag] = RawDataElement(tag, "SQ", len(inside), inside, 0, False, True)
    assert not view_evidence(film).headers.get(keyword)


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


@pytest.mark.parametrize("keyword", ["PatientID", "IssuerOfPatientID"])
@pytest.mark.parametrize(
    "text", ["SECRET" * 11, ["SECRET", "X"], "SECRET\n34", "SEC\0RET", "\tSEC\x1bRET", "SEC\x85RET"]
)
def test_a_patient_id_that_cannot_be_copied_gives_no_result_and_is_not_told(
    keyword: str, text: object
) -> None:
    """12<line end>34 without its line end is 1234: another patient."""
    with config.disable_value_validation():
        film = build_film(**{keyword: text})
    with pytest.raises(InvalidResult, match=f"{keyword} of the film: expected one value of 1-64") as raised:
        view_evidence(film)
    assert "SEC" not in str(raised.value)


def test_blanks_and_line_ends_around_an_identifier_are_no_part_of_it() -> None:
    headers = view_evidence(
        build_film(PatientID=" 12 34\r\n", IssuerOfPatientID="山\u3000田", AccessionNumber="\tA1 ")
    ).headers
    assert (headers.PatientID, headers.AccessionNumber) == ("12 34", "A1")
    assert headers.IssuerOfPatientID == "山\u3000田", "a wide blank is a letter like others"


def test_an_accession_number_or_another_id_with_control_characters_is_left_out() -> None:
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = "12\n34", "TEXT"
    film = build_film(AccessionNumber="12\n34", StudyID="1\r2", OtherPatientIDsSequence=Sequence([other]))
    headers = view_evidence(film).headers
    assert (headers.AccessionNumber, headers.StudyID) == ("", "")
    assert "OtherPatientIDsSequence" not in headers


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
