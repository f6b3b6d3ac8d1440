"""The gate before a result is stored: the encoded bytes are read again and compared with film and finding.

Validators check syntax: they pass a report about the wrong patient, without its number, or with a false
code. This gate reads the bytes with nothing but pydicom and compares what they say with what they should.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_io import codes
from dicom_io.charset import texts_of
from dicom_io.errors import InvalidResult
from dicom_io.evidence import SEQUENCES, TYPE_2, TYPE_3, Evidence, view_evidence
from dicom_io.findings import Presence, ResultContext
from dicom_io.identity import CONTENT_QUALIFICATION, MANUFACTURER
from dicom_io.uids import Kind, result_uid

_COMMON_TYPE_1: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "SeriesNumber",
    "InstanceNumber",
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "ContentDate",
    "ContentTime",
)
_REPORT_TYPE_1: Final = (
    "CompletionFlag",
    "VerificationFlag",
    "PreliminaryFlag",
    "ValueType",
    "ConceptNameCodeSequence",
    "ContinuityOfContent",
    "ContentSequence",
    "CurrentRequestedProcedureEvidenceSequence",
    "PerformedProcedureCodeSequence",
)
_CAPTURE_TYPE_1: Final = (
    "ConversionType",
    "ImageType",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelData",
    "DerivationDescription",
    "SourceImageSequence",
)
_KINDS: Final[dict[str, tuple[Kind, Kind]]] = {
    Comprehensive3DSRStorage: (Kind.REPORT, Kind.REPORT_SERIES),
    SecondaryCaptureImageStorage: (Kind.HEAT_MAP, Kind.HEAT_MAP_SERIES),
}


def check_result(encoded: bytes, source: Dataset, context: ResultContext) -> None:
    """Raise unless the encoded result says what it should, about the right film.

    Parameters
    ----------
    encoded : bytes
        A report or heat map as `encode` returns it.
    source : Dataset
        The film; it is not modified.
    context : ResultContext
        What the result was built from.

    Raises
    ------
    InvalidResult
        With the first difference found; the message names attributes, never a patient's name or id.
    """
    evidence = view_evidence(source)
    result = _read(encoded)
    try:
        _compare(result, evidence, context)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # A content item or a sequence item without what every one of its kind has.
        raise InvalidResult(f"{result.SOPClassUID.name}: an item is incomplete") from error


def _compare(result: Dataset, evidence: Evidence, context: ResultContext) -> None:
    _check_uids(result, evidence.headers, context)
    _check_identity(result, evidence)
    _check_device(result, context)
    _check_texts(result, evidence)
    if result.SOPClassUID == Comprehensive3DSRStorage:
        _require_filled(result, _REPORT_TYPE_1)
        _check_report(result, evidence.headers, context)
    else:
        _require_filled(result, _CAPTURE_TYPE_1)
        _check_capture(result, evidence.headers)


def _read(encoded: bytes) -> Dataset:
    try:
        result = dcmread(BytesIO(encoded))
        result.decode()
    except (InvalidDicomError, EOFError, ValueError, TypeError, LookupError) as error:
        raise InvalidResult("result: expected a part-10 file, got bytes that cannot be read") from error
    _require_filled(result, _COMMON_TYPE_1)
    if result.SOPClassUID not in _KINDS:
        raise InvalidResult(
            f"SOPClassUID: expected a report or a secondary capture, got {result.SOPClassUID}"
        )
    _equal("TransferSyntaxUID", result.file_meta.TransferSyntaxUID, ExplicitVRLittleEndian)
    _equal("MediaStorageSOPInstanceUID", result.file_meta.MediaStorageSOPInstanceUID, result.SOPInstanceUID)
    return result


def _require_filled(result: Dataset, keywords: tuple[str, ...]) -> None:
    for keyword in keywords:
        if keyword not in result or result[keyword].is_empty:
            raise InvalidResult(f"{keyword}: expected a value (type 1), got none")


def _equal(name: str, got: object, expected: object) -> None:
    if got != expected:
        raise InvalidResult(f"{name}: expected {expected}, got {got}")


def _check_uids(result: Dataset, film: Dataset, context: ResultContext) -> None:
    sop_class = result.SOPClassUID
    for keyword, kind in zip(("SOPInstanceUID", "SeriesInstanceUID"), _KINDS[sop_class], strict=True):
        expected = result_uid(context, film.SOPInstanceUID, kind, sop_class)
        _equal(keyword, result[keyword].value, expected)


def _check_identity(result: Dataset, evidence: Evidence) -> None:
    for keyword in ("StudyInstanceUID", *TYPE_2, *TYPE_3, *SEQUENCES):
        expected, got = evidence.headers.get(keyword), result.get(keyword)
        if (keyword in TYPE_2) and keyword not in result:
            raise InvalidResult(f"{keyword}: expected at least an empty value (type 2), got no attribute")
        same = expected == got if keyword in SEQUENCES else str(expected or "") == str(got or "")
        if not same:
            raise InvalidResult(f"{keyword}: differs from the film's")


def _check_device(result: Dataset, context: ResultContext) -> None:
    _equal("ContentQualification", result.get("ContentQualification"), CONTENT_QUALIFICATION)
    if "research use only" not in result.get("SeriesDescription", ""):
        raise InvalidResult("SeriesDescription: expected the words 'research use only'")
    _equal("Manufacturer", result.Manufacturer, MANUFACTURER)
    _equal("ManufacturerModelName", result.ManufacturerModelName, context.algorithm.name)
    _equal("DeviceSerialNumber", result.DeviceSerialNumber, context.device.node_id)
    versions = [context.device.software_version, context.algorithm.version]
    _equal("SoftwareVersions", list(result.SoftwareVersions), versions)


def _check_texts(result: Dataset, evidence: Evidence) -> None:
    """A replacement character that the film does not hold itself is a letter that the encoding lost."""
    given = sum(text.count("\ufffd") for _, text in texts_of(evidence.headers))
    found = sum(text.count("\ufffd") for _, text in texts_of(result))
    if found > given:
        raise InvalidResult("texts: expected every character to survive the character set, some did not")
    if "SpecificCharacterSet" not in result and not all(text.isascii() for _, text in texts_of(result)):
        raise InvalidResult("SpecificCharacterSet: expected one, since not every text is ASCII")


def _check_capture(capture: Dataset, film: Dataset) -> None:
    _equal("ImageType", list(capture.ImageType), ["DERIVED", "SECONDARY", "OTHER"])
    _equal("PhotometricInterpretation", capture.PhotometricInterpretation, "RGB")
    _equal("PlanarConfiguration", capture.get("PlanarConfiguration"), 0)
    _equal("BitsAllocated", capture.BitsAllocated, 8)
    length = capture.Rows * capture.Columns * 3
    _equal("length of PixelData", len(capture.PixelData), length + length % 2)
    reference = capture.SourceImageSequence[0]
    _equal("ReferencedSOPInstanceUID", reference.ReferencedSOPInstanceUID, film.SOPInstanceUID)
    _equal("ReferencedSOPClassUID", reference.ReferencedSOPClassUID, film.SOPClassUID)
    for keyword in ("LossyImageCompression", "BurnedInAnnotation"):
        _equal(keyword, capture.get(keyword), film.get(keyword))


def _check_report(report: Dataset, film: Dataset, context: ResultContext) -> None:
    _equal("CompletionFlag", report.CompletionFlag, "COMPLETE")
    _equal("VerificationFlag", report.VerificationFlag, "UNVERIFIED")
    _equal("PreliminaryFlag", report.PreliminaryFlag, "PRELIMINARY")
    items = list(_walk(report))
    _check_probability(items, context)
    _check_presence(items, context.finding.presence)
    _check_references(report, items, film)
    _check_algorithm(items, context)


def _walk(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or []:
        yield child
        yield from _walk(child)


def _named(items: list[Dataset], name: tuple[str, str]) -> list[Dataset]:
    return [item for item in items if _code(item.ConceptNameCodeSequence) == name]


def _code(sequence: list[Dataset]) -> tuple[str, str]:
    return sequence[0].CodeValue, sequence[0].CodingSchemeDesignator


def _key(code: Code) -> tuple[str, str]:
    return code.value, code.scheme_designator


def _check_probability(items: list[Dataset], context: ResultContext) -> None:
    numbers = _named(items, _key(codes.PROBABILITY_OF_COVID_19))
    _equal("number of probabilities", len(numbers), 1)
    measured = numbers[0].MeasuredValueSequence[0]
    _equal("unit of the probability", _code(measured.MeasurementUnitsCodeSequence), _key(codes.PERCENT))
    _equal("probability", f"{float(measured.NumericValue):.1f}", context.finding.percent)


def _check_presence(items: list[Dataset], presence: Presence) -> None:
    answers = [_code(item.ConceptCodeSequence) for item in _named(items, _key(codes.COVID_19))]
    _equal("qualitative evaluation", answers, [_key(codes.PRESENCE[presence])])
    findings = [_code(item.ConceptCodeSequence) for item in _named(items, ("121071", "DCM"))]
    sites = [_code(item.ConceptCodeSequence) for item in _named(items, ("363698007", "SCT"))]
    present = presence is Presence.PRESENT
    _equal("Finding rows", findings, [_key(codes.COVID_19)] if present else [])
    _equal("Finding Site rows", sites, [_key(codes.LUNG)] if present else [])


def _check_references(report: Dataset, items: list[Dataset], film: Dataset) -> None:
    evidence = {
        (instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    wanted = (film.SOPClassUID, film.SOPInstanceUID)
    for code in (("121112", "DCM"), _key(codes.SOURCE)):
        references = [item.ReferencedSOPSequence[0] for item in _named(items, code)]
        _equal(
            f"references {code}",
            [(each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID) for each in references],
            [wanted],
        )
    used = {
        (
            item.ReferencedSOPSequence[0].ReferencedSOPClassUID,
            item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
        )
        for item in items
        if item.ValueType == "IMAGE"
    }
    _equal("evidence", evidence, used)


def _check_algorithm(items: list[Dataset], context: ResultContext) -> None:
    texts = {item.TextValue for item in items if item.ValueType == "TEXT"}
    algorithm = context.algorithm
    for text in (algorithm.name, algorithm.version, *algorithm.parameters):
        if text not in texts:
            raise InvalidResult(f"algorithm identification: expected the line {text!r}")
    if not any(algorithm.weights_sha256 in text for text in texts):
        raise InvalidResult("algorithm identification: expected the hash of the weights")
