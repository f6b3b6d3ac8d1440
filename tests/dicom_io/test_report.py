"""The structured report: its tree, its identity, and that a negative one reads as negative."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO

import pytest
from builders import build_dx, build_film
from pydicom import dcmread
from pydicom.dataset import Dataset
from result_sources import NEGATIVE, ODD_SOURCES, POSITIVE, UNDETERMINED, build_context, build_results

from dicom_io.errors import InvalidResult
from dicom_io.findings import Presence, ResultContext
from dicom_io.report import build_report, encode
from dicom_io.uids import IMPLEMENTATION_CLASS_UID


def _tree(item: Dataset, depth: int = 0) -> Iterator[str]:
    """Yield one line per content item: indentation, relationship, concept name, value."""
    for child in item.get("ContentSequence") or []:
        name = child.ConceptNameCodeSequence[0].CodeMeaning
        yield f"{'  ' * depth}{child.RelationshipType}: {name}{_value(child)}"
        yield from _tree(child, depth + 1)


def _value(item: Dataset) -> str:
    match item.ValueType:
        case "CODE":
            return f" = {item.ConceptCodeSequence[0].CodeMeaning}"
        case "NUM":
            measured = item.MeasuredValueSequence[0]
            return f" = {measured.NumericValue} {measured.MeasurementUnitsCodeSequence[0].CodeValue}"
        case "TEXT":
            return f" = {item.TextValue}"
        case "IMAGE":
            return f" -> {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID}"
        case "DATE":
            return f" = {item.Date}"
        case "TIME":
            return f" = {item.Time}"
        case _:
            return ""


def _lines(film: Dataset, context: ResultContext) -> list[str]:
    report, _ = build_results(film, context)
    return [
        line for line in _tree(dcmread(BytesIO(encode(report)))) if "UID" not in line and "Unique" not in line
    ]


def test_a_positive_report_has_the_tree_of_tid_1500() -> None:
    film = build_dx(AcquisitionTime="101500", ImagerPixelSpacing=[0.15, 0.2])
    report, capture = build_results(film, POSITIVE)
    lines = [line for line in _tree(report) if "UID" not in line and "Unique" not in line]
    assert lines == [
        "HAS CONCEPT MOD: Language of Content Item and Descendants = English (United States)",
        "HAS OBS CONTEXT: Observer Type = Device",
        "HAS OBS CONTEXT: Device Observer Name = cxr-worker",
        "HAS OBS CONTEXT: Device Observer Manufacturer = cxr-worker",
        "HAS OBS CONTEXT: Device Observer Model Name = cxr-net",
        "HAS OBS CONTEXT: Device Observer Serial Number = node-1",
        "HAS CONCEPT MOD: Procedure reported = Imaging procedure",
        "CONTAINS: Image Library",
        "  CONTAINS: Image Library Group",
        f"    CONTAINS: Source -> {film.SOPInstanceUID}",
        "      HAS ACQ CONTEXT: Modality = Digital Radiography",
        "      HAS ACQ CONTEXT: Study Date = 20240102",
        "      HAS ACQ CONTEXT: Study Time = 101530",
        "      HAS ACQ CONTEXT: Content Date = 20240102",
        "      HAS ACQ CONTEXT: Content Time = 101600",
        "      HAS ACQ CONTEXT: Acquisition Date = 20240102",
        "      HAS ACQ CONTEXT: Acquisition Time = 101500",
        "      HAS ACQ CONTEXT: Pixel Data Rows = 256.0 {pixels}",
        "      HAS ACQ CONTEXT: Pixel Data Columns = 224.0 {pixels}",
        "      HAS ACQ CONTEXT: Patient Orientation Row = L",
        "      HAS ACQ CONTEXT: Patient Orientation Column = F",
        "      HAS ACQ CONTEXT: Horizontal Pixel Spacing = 0.2 mm",
        "      HAS ACQ CONTEXT: Vertical Pixel Spacing = 0.15 mm",
        f"    CONTAINS: Heat map of the algorithm -> {capture.SOPInstanceUID}",
        "      HAS ACQ CONTEXT: Modality = Digital Radiography",
        "      HAS ACQ CONTEXT: Study Date = 20240102",
        "      HAS ACQ CONTEXT: Study Time = 101530",
        "      HAS ACQ CONTEXT: Content Date = 20240103",
        "      HAS ACQ CONTEXT: Content Time = 090005.000000",
        f"      HAS ACQ CONTEXT: Pixel Data Rows = {capture.Rows}.0 {{pixels}}",
        f"      HAS ACQ CONTEXT: Pixel Data Columns = {capture.Columns}.0 {{pixels}}",
        "      HAS ACQ CONTEXT: Patient Orientation Row = L",
        "      HAS ACQ CONTEXT: Patient Orientation Column = F",
        "CONTAINS: Imaging Measurements",
        "  CONTAINS: Measurement Group",
        "    HAS OBS CONTEXT: Tracking Identifier = AI-1 COVID-19",
        "    CONTAINS: Finding = COVID-19",
        "    HAS CONCEPT MOD: Finding Site = Lung",
        "      HAS CONCEPT MOD: Laterality = Bilateral",
        "    HAS CONCEPT MOD: Algorithm Name = cxr-net",
        "    HAS CONCEPT MOD: Algorithm Version = 1.2.0",
        f"    HAS CONCEPT MOD: Algorithm Parameters = weights SHA-256 {'0123456789abcdef' * 4}",
        "    HAS CONCEPT MOD: Algorithm Parameters = decision threshold 0.5000",
        "    HAS CONCEPT MOD: Algorithm Parameters = abstain band 0.4500 to 0.5500",
        "    HAS CONCEPT MOD: Algorithm Parameters = input 320 x 320 pixels",
        "    HAS CONCEPT MOD: Algorithm Parameters = calibration temperature 1.30",
        "    HAS CONCEPT MOD: Algorithm Parameters = prevalence at training 0.150, assumed 0.050",
        "    HAS CONCEPT MOD: Algorithm Parameters = backend openvino",
        "    CONTAINS: Probability of COVID-19 = 87.3 %",
        "    CONTAINS: COVID-19 = Present",
        f"    CONTAINS: Source of Measurement -> {film.SOPInstanceUID}",
        "CONTAINS: Qualitative Evaluations",
        "  CONTAINS: Comment = Research software, not for diagnosis.",
    ]


@pytest.mark.parametrize(
    ("context", "number", "answer"), [(NEGATIVE, "3.2 %", "Absent"), (UNDETERMINED, "50.0 %", "Undetermined")]
)
def test_a_report_that_is_not_positive_never_names_a_finding(
    context: ResultContext, number: str, answer: str
) -> None:
    lines = [line.strip() for line in _lines(build_film(), context)]
    assert f"CONTAINS: Probability of COVID-19 = {number}" in lines
    assert f"CONTAINS: COVID-19 = {answer}" in lines
    for word in ("Finding", "Lung", "Bilateral", "Present", "= COVID-19"):
        assert not [line for line in lines if word in line and "AI-1" not in line]


@pytest.mark.parametrize(
    ("presence", "code"),
    [
        (Presence.PRESENT, ("52101004", "SCT")),
        (Presence.ABSENT, ("272519000", "SCT")),
        (Presence.UNDETERMINED, ("373068000", "SCT")),
    ],
)
def test_each_presence_has_its_snomed_code(presence: Presence, code: tuple[str, str]) -> None:
    report = build_report(build_film(), build_context(presence), None)
    group = report.ContentSequence[-2].ContentSequence[0]
    values = [item.ConceptCodeSequence[0] for item in group.ContentSequence if item.ValueType == "CODE"]
    assert (values[-1].CodeValue, values[-1].CodingSchemeDesignator) == code


def test_the_report_belongs_to_the_patient_and_study_of_the_film() -> None:
    film = build_film(TimezoneOffsetFromUTC="+0100", PatientWeight="70.5")
    report, _ = build_results(film, POSITIVE)
    read = dcmread(BytesIO(encode(report)))
    for keyword in (
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientSex",
        "PatientAge",
        "PatientWeight",
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "StudyDescription",
        "ReferringPhysicianName",
        "TimezoneOffsetFromUTC",
    ):
        assert read[keyword].value == film[keyword].value, keyword


def test_flags_series_and_purpose() -> None:
    report, _ = build_results(build_film(), POSITIVE)
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert report.ContentQualification == "RESEARCH"
    assert report.SeriesNumber == 9001
    assert report.SeriesDescription.endswith("research use only")
    assert report.PerformedProcedureCodeSequence[0].CodeValue == "399208008"
    assert report.Manufacturer == "cxr-worker"
    assert report.SoftwareVersions == ["0.1.0", "1.2.0"]


def test_film_and_heat_map_are_the_evidence() -> None:
    film = build_film()
    report, capture = build_results(film, POSITIVE)
    series = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert {
        (each.SeriesInstanceUID, each.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for each in series
    } == {(image.SeriesInstanceUID, image.SOPInstanceUID) for image in (film, capture)}


def test_a_report_without_heat_map_names_the_film_alone() -> None:
    report = build_report(build_film(), POSITIVE, None)
    assert not [line for line in _tree(report) if "Heat map" in line]
    assert len(report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence) == 1


def test_times_are_written_in_the_offset_of_the_film() -> None:
    report = build_report(build_film(TimezoneOffsetFromUTC="+0545"), POSITIVE, None)
    assert (report.ContentDate, report.ContentTime) == ("20240103", "144505.000000")
    assert report.TimezoneOffsetFromUTC == "+0545"


def test_without_an_offset_times_are_written_in_the_site_s_zone() -> None:
    site = timezone(timedelta(hours=-10))
    context = replace(POSITIVE, created_at=datetime(2024, 1, 3, 9, tzinfo=UTC).astimezone(site))
    report = build_report(build_film(), context, None)
    assert (report.InstanceCreationDate, report.InstanceCreationTime) == ("20240102", "230000.000000")
    assert "TimezoneOffsetFromUTC" not in report


def test_the_same_result_is_the_same_bytes_whenever_it_is_built() -> None:
    first = [encode(result) for result in build_results(build_film(), POSITIVE)]
    second = [encode(result) for result in build_results(build_film(), POSITIVE)]
    assert first == second


def test_two_films_and_two_models_never_share_a_uid() -> None:
    newer = replace(POSITIVE, algorithm=replace(POSITIVE.algorithm, version="1.3.0"))
    reissued = replace(POSITIVE, reissue_hash="ff")
    reports = [
        build_report(build_film(), POSITIVE, None),
        build_report(build_film(SOPInstanceUID="1.2.3"), POSITIVE, None),
        build_report(build_film(), newer, None),
        build_report(build_film(), reissued, None),
    ]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({report[keyword].value for report in reports}) == 4


def test_file_meta_names_our_own_implementation() -> None:
    read = dcmread(BytesIO(encode(build_report(build_film(), POSITIVE, None))))
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


@pytest.mark.parametrize("source", ODD_SOURCES)
def test_building_leaves_the_film_as_it_was(source: str) -> None:
    film = ODD_SOURCES[source]()
    before = film.to_json(), film.PixelData
    build_results(film, POSITIVE)
    assert (film.to_json(), film.PixelData) == before


@pytest.mark.parametrize("probability", [float("nan"), -0.1, 1.1, float("inf")])
def test_a_number_that_is_no_probability_gives_no_report(probability: float) -> None:
    with pytest.raises(InvalidResult, match="probability"):
        build_report(build_film(), build_context(probability=probability), None)


def test_a_time_without_a_zone_gives_no_report() -> None:
    with pytest.raises(InvalidResult, match="zone"):
        build_report(build_film(), replace(POSITIVE, created_at=datetime(2024, 1, 3)), None)


def test_no_warning_quotes_the_patient_s_name(recwarn: pytest.WarningsRecorder) -> None:
    build_results(ODD_SOURCES["single_component_name"](), POSITIVE)
    assert not [warning for warning in recwarn if "Cher" in str(warning.message)]
