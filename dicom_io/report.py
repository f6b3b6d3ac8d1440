"""A finding or a refusal → a structured report in one of four forms, and any result → part-10 bytes."""

from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import Comprehensive3DSR, ComprehensiveSR, EnhancedSR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from dicom_io import codes
from dicom_io.charset import settle_character_set
from dicom_io.errors import InvalidResult
from dicom_io.evidence import inherit, view_evidence
from dicom_io.findings import EarlierReport, RefusalContext, ResultContext
from dicom_io.identity import (
    MANUFACTURER,
    describe_equipment,
    describe_instance,
    require_sound,
    without_names,
)
from dicom_io.part10 import write_bytes
from dicom_io.profiles import REPORT_SOP_CLASS, Profile
from dicom_io.report_text import build_text
from dicom_io.report_tree import build_tree
from dicom_io.rle import compress_if_smaller
from dicom_io.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    report_uids,
)

SERIES_NUMBER: Final = 9001
SERIES_DESCRIPTION: Final = "AI report COVID-19, research use only"

_DOCUMENT: Final[dict[Profile, type[Comprehensive3DSR | ComprehensiveSR | EnhancedSR]]] = {
    Profile.COMPREHENSIVE_3D: Comprehensive3DSR,
    Profile.COMPREHENSIVE: ComprehensiveSR,
    Profile.ENHANCED: EnhancedSR,
    # highdicom has no class for it; its modules are those of Enhanced SR (PS3.3 tables A.35.1-1, A.35.2-1).
    Profile.BASIC_TEXT: EnhancedSR,
}


def build_report(
    source: Dataset,
    context: ResultContext,
    capture: Dataset | None,
    profile: Profile = Profile.COMPREHENSIVE_3D,
) -> Dataset:
    """Return the structured report about one film that was judged.

    Parameters
    ----------
    source : Dataset
        The film as read from the spool; it is not modified.
    context : ResultContext
        The finding, and who made it when.
    capture : Dataset | None
        The heat map made by `build_capture` for the same film, listed in the image library; None without one.
    profile : Profile
        Form of the report: the tree of TID 1500 in one of three SOP classes, or flat text.

    Returns
    -------
    Dataset
        A structured report of the profile's SOP class, the same for the same arguments.

    Raises
    ------
    InvalidResult
        When the finding holds no probability, the time no zone, or the film no UIDs to refer to.

    References
    ----------
    PS3.3 A.35.1, A.35.2, A.35.3, A.35.13; PS3.16 TID 1500, 2000; highdicom `Comprehensive3DSR`.
    """
    return _assemble(source, context, capture, profile)


def build_refusal(
    source: Dataset, context: RefusalContext, profile: Profile = Profile.COMPREHENSIVE_3D
) -> Dataset:
    """Return the structured report that says why a film was not judged.

    Parameters
    ----------
    source : Dataset
        The film as read from the spool; it is not modified.
    context : RefusalContext
        The reason, and who gave it when.
    profile : Profile
        See `build_report`.

    Returns
    -------
    Dataset
        COVID-19 is Undetermined, Quality Assessment is the reason, and there is no probability.

    Raises
    ------
    InvalidResult
        When no report is made for this reason, the time has no zone, or the film no UIDs to refer to.

    References
    ----------
    See `build_report`; PS3.16 annex D (111050, 111235).
    """
    if context.reason in codes.UNREPORTED or context.reason not in codes.REFUSAL:
        raise InvalidResult(f"reason: expected one that is reported, got {context.reason}")
    return _assemble(source, context, None, profile)


def _assemble(
    source: Dataset, context: ResultContext | RefusalContext, capture: Dataset | None, profile: Profile
) -> Dataset:
    require_sound(context)
    evidence = view_evidence(source)
    film = evidence.headers
    images = [film] if capture is None else [film, capture]
    build_content = build_text if profile is Profile.BASIC_TEXT else build_tree
    instance_uid, series_uid = report_uids(context, film.SOPInstanceUID, profile)
    report = _DOCUMENT[profile](
        evidence=[*(without_names(image) for image in images), *map(_reference, context.earlier)],
        content=build_content(film, context, capture)[0],
        series_instance_uid=series_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=instance_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        performed_procedure_codes=[codes.PLAIN_CHEST_XRAY],
        series_description=SERIES_DESCRIPTION,
        specific_character_set=None,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                codes.OWN_SCHEME, name=codes.OWN_SCHEME_NAME, responsible_organization=MANUFACTURER
            )
        ],
    )
    report.SOPClassUID = REPORT_SOP_CLASS[profile]
    inherit(report, evidence)
    describe_equipment(report, context)
    describe_instance(report, evidence.local_time(context.created_at))
    settle_character_set(report, evidence.character_set)
    return report


def _reference(earlier: EarlierReport) -> Dataset:
    """What highdicom reads of evidence: of the same study it is current, else pertinent (PS3.3 C.17.2.3)."""
    reference = Dataset()
    reference.StudyInstanceUID = earlier.study_instance_uid
    reference.SeriesInstanceUID = earlier.series_instance_uid
    reference.SOPClassUID = earlier.sop_class_uid
    reference.SOPInstanceUID = earlier.sop_instance_uid
    return reference


def encode(dataset: Dataset) -> bytes:
    """Return a result as a part-10 file: in RLE Lossless what has pixels, if that is smaller, else plain.

    Parameters
    ----------
    dataset : Dataset
        A report, capture or presentation state as built, uncompressed; it is not modified.

    Returns
    -------
    bytes
        Preamble, file meta with our own implementation class UID, data set; the same for the same data set.
        The data set in Explicit VR Little Endian, its Pixel Data encapsulated where it is compressed.

    References
    ----------
    PS3.10 section 7.1; PS3.5 section A.4.2.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    copy = Dataset(dict(dataset.items()))
    compressed = "PixelData" in copy and compress_if_smaller(copy)
    meta.TransferSyntaxUID = RLELossless if compressed else ExplicitVRLittleEndian
    copy.file_meta = meta
    return write_bytes(copy)
