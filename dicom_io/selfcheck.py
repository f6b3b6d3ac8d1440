"""The gate before a result is stored: the encoded bytes are read again and compared with film and finding.

Validators check syntax: they pass a report about the wrong patient, without its number, or with a false
code. This gate reads the bytes with nothing but pydicom and compares what they say with what they should.
"""

from io import BytesIO
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from dicom_io import capture, presentation, summary
from dicom_io.charset import texts_of
from dicom_io.comparison import require_equal, require_filled
from dicom_io.errors import InvalidResult, UnreadablePixels
from dicom_io.evidence import SEQUENCES, TYPE_2, TYPE_3, Evidence, view_evidence
from dicom_io.findings import Provenance, RefusalContext, ResultContext
from dicom_io.identity import CONTENT_QUALIFICATION, MANUFACTURER
from dicom_io.overlay import judgement
from dicom_io.profiles import REPORT_SOP_CLASS, Profile
from dicom_io.selfcheck_report import check_report
from dicom_io.transcode import decompress
from dicom_io.uids import Kind, report_uids, result_uid

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
)
_CAPTURE_TYPE_1: Final = (
    "ContentDate",
    "ContentTime",
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
_PRESENTATION_TYPE_1: Final = (
    "PresentationCreationDate",
    "PresentationCreationTime",
    "ContentLabel",
    "ReferencedSeriesSequence",
    "GraphicLayerSequence",
    "GraphicAnnotationSequence",
    "DisplayedAreaSelectionSequence",
    "PresentationLUTShape",
)
_PROFILES: Final = {sop_class: profile for profile, sop_class in REPORT_SOP_CLASS.items()}
_PICTURES: Final[dict[tuple[str, int], tuple[Kind, Kind]]] = {
    (SecondaryCaptureImageStorage, capture.SERIES_NUMBER): (Kind.HEAT_MAP, Kind.HEAT_MAP_SERIES),
    (SecondaryCaptureImageStorage, summary.SERIES_NUMBER): (Kind.SUMMARY, Kind.SUMMARY_SERIES),
    (GrayscaleSoftcopyPresentationStateStorage, presentation.SERIES_NUMBER): (
        Kind.PRESENTATION,
        Kind.PRESENTATION_SERIES,
    ),
}
"""What is no report, by SOP class and series number: its kind and that of its series."""


def check_result(encoded: bytes, source: Dataset, context: ResultContext | RefusalContext) -> None:
    """Raise unless the encoded result says what it should, about the right film.

    Parameters
    ----------
    encoded : bytes
        A report in any profile, heat map, summary page or presentation state as `encode` returns it.
    source : Dataset
        The film; it is not modified.
    context : ResultContext | RefusalContext
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


def _compare(result: Dataset, evidence: Evidence, context: ResultContext | RefusalContext) -> None:
    film, profile = evidence.headers, _PROFILES.get(result.SOPClassUID)
    _check_uids(result, film, context, profile)
    _check_identity(result, evidence)
    _check_device(result, context)
    _check_texts(result, evidence)
    if profile is not None:
        check_report(result, film, context, profile)
    elif isinstance(context, RefusalContext):
        raise InvalidResult(
            f"SOPClassUID: expected a report on a refused film, got {result.SOPClassUID.name}"
        )
    elif result.SOPClassUID == SecondaryCaptureImageStorage:
        _check_capture(result, film)
    else:
        _check_presentation(result, film, context)


def _read(encoded: bytes) -> Dataset:
    try:
        result = dcmread(BytesIO(encoded))
        result.decode()
    except (InvalidDicomError, EOFError, ValueError, TypeError, LookupError) as error:
        raise InvalidResult("result: expected a part-10 file, got bytes that cannot be read") from error
    require_filled(result, _COMMON_TYPE_1)
    pictures = {sop_class for sop_class, _ in _PICTURES}
    if result.SOPClassUID not in {*_PROFILES, *pictures}:
        raise InvalidResult(f"SOPClassUID: expected one of our results, got {result.SOPClassUID}")
    if "PixelData" in result and result.file_meta.TransferSyntaxUID == RLELossless:
        _decompress(result)
    require_equal("TransferSyntaxUID", result.file_meta.TransferSyntaxUID, ExplicitVRLittleEndian)
    require_equal(
        "MediaStorageSOPInstanceUID", result.file_meta.MediaStorageSOPInstanceUID, result.SOPInstanceUID
    )
    return result


def _decompress(result: Dataset) -> None:
    try:
        decompress(result)
    except UnreadablePixels as error:
        raise InvalidResult(f"PixelData: {error}") from error


def _check_uids(result: Dataset, film: Dataset, context: Provenance, profile: Profile | None) -> None:
    if profile is not None:
        expected = report_uids(context, film.SOPInstanceUID, profile)
    else:
        key = (str(result.SOPClassUID), int(result.SeriesNumber))
        if key not in _PICTURES:
            raise InvalidResult(f"SeriesNumber: expected one of our series of pictures, got {key[1]}")
        instance, series = (
            result_uid(context, film.SOPInstanceUID, kind, result.SOPClassUID) for kind in _PICTURES[key]
        )
        expected = instance, series
    for keyword, uid in zip(("SOPInstanceUID", "SeriesInstanceUID"), expected, strict=True):
        require_equal(keyword, result[keyword].value, uid)


def _check_identity(result: Dataset, evidence: Evidence) -> None:
    for keyword in ("StudyInstanceUID", *TYPE_2, *TYPE_3, *SEQUENCES):
        expected, got = evidence.headers.get(keyword), result.get(keyword)
        if (keyword in TYPE_2) and keyword not in result:
            raise InvalidResult(f"{keyword}: expected at least an empty value (type 2), got no attribute")
        same = expected == got if keyword in SEQUENCES else str(expected or "") == str(got or "")
        if not same:
            raise InvalidResult(f"{keyword}: differs from the film's")


def _check_device(result: Dataset, context: Provenance) -> None:
    require_equal("ContentQualification", result.get("ContentQualification"), CONTENT_QUALIFICATION)
    if "research use only" not in result.get("SeriesDescription", ""):
        raise InvalidResult("SeriesDescription: expected the words 'research use only'")
    require_equal("Manufacturer", result.Manufacturer, MANUFACTURER)
    require_equal("ManufacturerModelName", result.ManufacturerModelName, context.algorithm.name)
    require_equal("DeviceSerialNumber", result.DeviceSerialNumber, context.device.node_id)
    versions = [context.device.software_version, context.algorithm.version]
    require_equal("SoftwareVersions", list(result.SoftwareVersions), versions)


def _check_texts(result: Dataset, evidence: Evidence) -> None:
    """A replacement character that the film does not hold itself is a letter that the encoding lost."""
    given = sum(text.count("\ufffd") for _, text in texts_of(evidence.headers))
    found = sum(text.count("\ufffd") for _, text in texts_of(result))
    if found > given:
        raise InvalidResult("texts: expected every character to survive the character set, some did not")
    if "SpecificCharacterSet" not in result and not all(text.isascii() for _, text in texts_of(result)):
        raise InvalidResult("SpecificCharacterSet: expected one, since not every text is ASCII")


def _check_capture(image: Dataset, film: Dataset) -> None:
    require_filled(image, _CAPTURE_TYPE_1)
    require_equal("ImageType", list(image.ImageType), ["DERIVED", "SECONDARY", "OTHER"])
    require_equal("PhotometricInterpretation", image.PhotometricInterpretation, "RGB")
    require_equal("PlanarConfiguration", image.get("PlanarConfiguration"), 0)
    require_equal("BitsAllocated", image.BitsAllocated, 8)
    length = image.Rows * image.Columns * 3
    require_equal("length of PixelData", len(image.PixelData), length + length % 2)
    _check_reference(image.SourceImageSequence[0], film)
    for keyword in ("LossyImageCompression", "BurnedInAnnotation"):
        require_equal(keyword, image.get(keyword), film.get(keyword))


def _check_presentation(state: Dataset, film: Dataset, context: ResultContext) -> None:
    require_filled(state, _PRESENTATION_TYPE_1)
    (series,) = state.ReferencedSeriesSequence
    require_equal("SeriesInstanceUID of the reference", series.SeriesInstanceUID, film.SeriesInstanceUID)
    (image,) = series.ReferencedImageSequence
    _check_reference(image, film)
    texts = [
        text.UnformattedTextValue
        for annotation in state.GraphicAnnotationSequence
        for text in annotation.get("TextObjectSequence") or ()
    ]
    if not any(judgement(context.finding).split("   ")[0] in text for text in texts):
        raise InvalidResult("annotation: expected the finding in words, got other words")


def _check_reference(reference: Dataset, film: Dataset) -> None:
    require_equal("ReferencedSOPInstanceUID", reference.ReferencedSOPInstanceUID, film.SOPInstanceUID)
    require_equal("ReferencedSOPClassUID", reference.ReferencedSOPClassUID, film.SOPClassUID)
