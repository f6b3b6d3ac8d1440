"""The gate: good results pass, and each way of being wrong is named."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import pytest
from builders import build_film
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from result_sources import (
    NEGATIVE,
    ODD_SOURCES,
    POSITIVE,
    UNDETERMINED,
    build_results,
    ramp_HW,
    spot_HW,
)

from dicom_io.errors import InvalidResult
from dicom_io.findings import ResultContext
from dicom_io.presentation import build_presentation
from dicom_io.report import encode
from dicom_io.selfcheck import check_result
from dicom_io.summary import build_summary

Change = Callable[[Dataset], None]


@pytest.mark.parametrize(
    "context", [POSITIVE, NEGATIVE, UNDETERMINED], ids=["present", "absent", "undetermined"]
)
@pytest.mark.parametrize("source", ODD_SOURCES)
def test_good_results_pass(source: str, context: ResultContext) -> None:
    film = ODD_SOURCES[source]()
    for result in build_results(film, context):
        check_result(encode(result), film, context)


def _set(keyword: str, value: object) -> Change:
    return lambda result: setattr(result, keyword, value)


def _remove(keyword: str) -> Change:
    return lambda result: result.__delitem__(keyword)


def _group(report: Dataset) -> Dataset:
    measurements: Dataset = report.ContentSequence[-2]
    return measurements.ContentSequence[0]  # type: ignore[no-any-return]


def _item(report: Dataset, meaning: str) -> Dataset:
    return next(
        item
        for item in _group(report).ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == meaning
    )


def _other_number(report: Dataset) -> None:
    _item(report, "Probability of COVID-19").MeasuredValueSequence[0].NumericValue = "12.7"


def _no_number(report: Dataset) -> None:
    _group(report).ContentSequence.remove(_item(report, "Probability of COVID-19"))


def _per_mille(report: Dataset) -> None:
    unit = _item(report, "Probability of COVID-19").MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
    unit.CodeValue = "1"


def _absent(report: Dataset) -> None:
    _item(report, "COVID-19").ConceptCodeSequence[0].CodeValue = "272519000"


def _no_finding(report: Dataset) -> None:
    _group(report).ContentSequence.remove(_item(report, "Finding"))


def _other_finding(report: Dataset) -> None:
    _item(report, "Finding").ConceptCodeSequence[0].CodeValue = "233604007"


def _other_film(report: Dataset) -> None:
    _item(report, "Source of Measurement").ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def _other_evidence(report: Dataset) -> None:
    study = report.CurrentRequestedProcedureEvidenceSequence[0]
    study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def _other_model(report: Dataset) -> None:
    _item(report, "Algorithm Version").TextValue = "9"


def _other_source_image(capture: Dataset) -> None:
    capture.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def _cut_pixels(capture: Dataset) -> None:
    capture.PixelData = capture.PixelData[:-2]


def _ascii_only(result: Dataset) -> None:
    result.PatientName = str(result.PatientName).encode("ascii", "replace").decode()


COMMON: dict[str, tuple[Change, str]] = {
    "another patient id": (_set("PatientID", "SECRET"), "PatientID"),
    "another name": (_set("PatientName", "Doe^Jane"), "PatientName"),
    "a name without its umlaut": (_ascii_only, "PatientName"),
    "no patient id": (_remove("PatientID"), "PatientID"),
    "another issuer": (_set("IssuerOfPatientID", "B"), "IssuerOfPatientID"),
    "an invented weight": (_set("PatientWeight", "70"), "PatientWeight"),
    "another study": (_set("StudyInstanceUID", "1.2.3"), "StudyInstanceUID"),
    "another accession number": (_set("AccessionNumber", "X"), "AccessionNumber"),
    "another birth date": (_set("PatientBirthDate", "20000101"), "PatientBirthDate"),
    "another instance": (_set("SOPInstanceUID", "1.2.3"), "SOPInstanceUID"),
    "another series": (_set("SeriesInstanceUID", "1.2.3"), "SeriesInstanceUID"),
    "no content date": (_set("ContentDate", ""), "ContentDate"),
    "for clinical use": (_set("ContentQualification", "PRODUCT"), "ContentQualification"),
    "a series like any other": (_set("SeriesDescription", "AI"), "SeriesDescription"),
    "another maker": (_set("Manufacturer", "ACME"), "Manufacturer"),
    "another node": (_set("DeviceSerialNumber", "node-2"), "DeviceSerialNumber"),
    "another model version": (_set("SoftwareVersions", ["0.1.0", "9"]), "SoftwareVersions"),
    "no modality": (_remove("Modality"), "Modality"),
    "another class": (_set("SOPClassUID", "1.2.840.10008.5.1.4.1.1.104.1"), "SOPClassUID"),
}
REPORT: dict[str, tuple[Change, str]] = {
    "another number": (_other_number, "probability"),
    "no number": (_no_number, "probabilities"),
    "another unit": (_per_mille, "unit"),
    "another answer": (_absent, "qualitative"),
    "no finding": (_no_finding, "Finding"),
    "another finding": (_other_finding, "Finding"),
    "about another film": (_other_film, "references"),
    "other evidence": (_other_evidence, "evidence"),
    "another algorithm": (_other_model, "algorithm"),
    "final": (_set("PreliminaryFlag", "FINAL"), "PreliminaryFlag"),
    "verified": (_set("VerificationFlag", "VERIFIED"), "VerificationFlag"),
    "no title": (_remove("ConceptNameCodeSequence"), "ConceptNameCodeSequence"),
}
CAPTURE: dict[str, tuple[Change, str]] = {
    "of another film": (_other_source_image, "ReferencedSOPInstanceUID"),
    "cut short": (_cut_pixels, "PixelData"),
    "more rows than pixels": (_set("Rows", 4000), "PixelData"),
    "an original": (_set("ImageType", ["ORIGINAL", "PRIMARY"]), "ImageType"),
    "hidden losses": (_set("LossyImageCompression", "01"), "LossyImageCompression"),
    "no pixels": (_remove("PixelData"), "PixelData"),
}


@pytest.mark.parametrize("name", [*COMMON, *REPORT])
def test_a_false_report_is_refused(name: str) -> None:
    _refuse(0, *{**COMMON, **REPORT}[name])


@pytest.mark.parametrize("name", [*COMMON, *CAPTURE])
def test_a_false_heat_map_is_refused(name: str) -> None:
    _refuse(1, *{**COMMON, **CAPTURE}[name])


def _refuse(which: int, change: Change, message: str) -> None:
    film = build_film()
    result = dcmread(BytesIO(encode(build_results(film, POSITIVE)[which])))
    if result.file_meta.TransferSyntaxUID.is_compressed:
        # What is changed is the picture; it is encoded again.
        result.decompress(generate_instance_uid=False)
    change(result)
    with pytest.raises(InvalidResult, match=message) as raised:
        check_result(encode(result), film, POSITIVE)
    for secret in ("Grün", "PID-4711", "SECRET"):
        assert secret not in str(raised.value)


def test_a_negative_report_with_a_finding_row_is_refused() -> None:
    film = build_film()
    report = build_results(film, NEGATIVE)[0]
    positive = build_results(film, POSITIVE)[0]
    _group(report).ContentSequence.insert(2, _item(positive, "Finding"))
    with pytest.raises(InvalidResult, match="Finding rows"):
        check_result(encode(report), film, NEGATIVE)


def test_a_result_of_another_finding_is_refused() -> None:
    film = build_film()
    report = encode(build_results(film, POSITIVE)[0])
    other = replace(POSITIVE, finding=replace(POSITIVE.finding, probability=0.874))
    with pytest.raises(InvalidResult, match="probability"):
        check_result(report, film, other)


def test_bytes_that_are_no_dicom_are_refused() -> None:
    with pytest.raises(InvalidResult, match="part-10"):
        check_result(b"no DICOM", build_film(), POSITIVE)


def test_a_file_cut_in_the_middle_is_refused() -> None:
    film = build_film()
    report, capture = build_results(film, POSITIVE)
    for encoded in (encode(report), encode(capture)):
        with pytest.raises(InvalidResult):
            check_result(encoded[: len(encoded) // 2], film, POSITIVE)


def test_another_transfer_syntax_is_refused() -> None:
    film = build_film()
    result = dcmread(BytesIO(encode(build_results(film, POSITIVE)[0])))
    result.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    buffer = BytesIO()
    result.save_as(buffer, implicit_vr=True, little_endian=True)
    with pytest.raises(InvalidResult, match="TransferSyntaxUID"):
        check_result(buffer.getvalue(), film, POSITIVE)


def test_letters_lost_in_a_text_of_our_own_are_refused() -> None:
    """Identity alone would not notice: the film is ASCII, the node id is not."""
    film = build_film(SpecificCharacterSet=None, PatientName="Doe^Jane", ReferringPhysicianName="")
    context = replace(POSITIVE, device=replace(POSITIVE.device, node_id="узел-1"))
    report = dcmread(BytesIO(encode(build_results(film, context)[0])))
    check_result(encode(report), film, context)
    report.SeriesDescription = "research use only \ufffd"
    with pytest.raises(InvalidResult, match="texts"):
        check_result(encode(report), film, context)


def _other_image(state: Dataset) -> None:
    state.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def _other_series(state: Dataset) -> None:
    state.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"


def _other_words(state: Dataset) -> None:
    for annotation in state.GraphicAnnotationSequence:
        for text in annotation.get("TextObjectSequence") or ():
            text.UnformattedTextValue = "COVID-19 absent"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_image, "ReferencedSOPInstanceUID"),
        (_other_series, "SeriesInstanceUID of the reference"),
        (_other_words, "annotation"),
        (_remove("GraphicAnnotationSequence"), "GraphicAnnotationSequence"),
        (_set("PatientID", "SECRET"), "PatientID"),
        (_set("SeriesNumber", 9002), "SeriesNumber"),
    ],
)
def test_a_false_presentation_state_is_refused(change: Change, message: str) -> None:
    film = build_film()
    state = build_presentation(film, spot_HW(), POSITIVE)
    check_result(encode(state), film, POSITIVE)
    change(state)
    with pytest.raises(InvalidResult, match=message):
        check_result(encode(state), film, POSITIVE)


def test_a_summary_page_in_the_series_of_the_heat_map_is_refused() -> None:
    film = build_film()
    page = build_summary(film, ramp_HW(film), spot_HW(), POSITIVE)
    check_result(encode(page), film, POSITIVE)
    page.SeriesNumber = 9002
    with pytest.raises(InvalidResult, match="SOPInstanceUID"):
        check_result(encode(page), film, POSITIVE)
