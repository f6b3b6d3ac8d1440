"""A finding → a structured report: Comprehensive 3D SR with TID 1500, and any result → part-10 bytes.

The tree is the one of TID 1500 (PS3.16), built by highdicom. Two rules are ours. A report that is not
Present holds neither a Finding nor a Finding Site row, so that no viewer shows "Finding = COVID-19" above an
"Absent" at its end; and the number bears our own code, which names P(COVID-19) whatever the decision.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DateContentItem,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TimeContentItem,
    TrackingIdentifier,
)
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes as dicom_codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, Comprehensive3DSRStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from dicom_io import codes
from dicom_io.charset import settle_character_set
from dicom_io.evidence import inherit, view_evidence
from dicom_io.findings import Presence, ResultContext
from dicom_io.identity import (
    MANUFACTURER,
    describe_equipment,
    describe_instance,
    require_sound,
    without_names,
)
from dicom_io.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    Kind,
    device_observer_uid,
    result_uid,
)

SERIES_NUMBER: Final = 9001
SERIES_DESCRIPTION: Final = "AI report COVID-19, research use only"
TRACKING_IDENTIFIER: Final = "AI-1 COVID-19"
RESEARCH_COMMENT: Final = "Research software, not for diagnosis."


def build_report(source: Dataset, context: ResultContext, capture: Dataset | None) -> Dataset:
    """Return the structured report about one film.

    Parameters
    ----------
    source : Dataset
        The film as read from the spool; it is not modified.
    context : ResultContext
        The finding, and who made it when.
    capture : Dataset | None
        The heat map made by `build_capture` for the same film, listed in the image library; None without one.

    Returns
    -------
    Dataset
        Comprehensive 3D SR (1.2.840.10008.5.1.4.1.1.88.34), the same for the same arguments.

    Raises
    ------
    InvalidResult
        When the finding holds no probability, the time no zone, or the film no UIDs to refer to.

    References
    ----------
    PS3.3 A.35.13; PS3.16 TID 1500, 1501, 1600, 4019; highdicom `Comprehensive3DSR`.
    """
    require_sound(context)
    evidence = view_evidence(source)
    film = evidence.headers
    images = [film] if capture is None else [film, capture]
    report = Comprehensive3DSR(
        evidence=[without_names(image) for image in images],
        content=_content(film, context, capture)[0],
        series_instance_uid=_uid(context, film, Kind.REPORT_SERIES),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid(context, film, Kind.REPORT),
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
    inherit(report, evidence)
    describe_equipment(report, context)
    describe_instance(report, evidence.local_time(context.created_at))
    settle_character_set(report, evidence.character_set)
    return report


def encode(dataset: Dataset) -> bytes:
    """Return a result as a part-10 file in Explicit VR Little Endian.

    Parameters
    ----------
    dataset : Dataset
        A report or capture as built; it is not modified.

    Returns
    -------
    bytes
        Preamble, file meta with our own implementation class UID, data set; the same for the same data set.

    References
    ----------
    PS3.10 section 7.1.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    plain = Dataset(dict(dataset.items()))
    plain.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, plain, enforce_file_format=True)
    return buffer.getvalue()


def _uid(context: ResultContext, film: Dataset, kind: Kind) -> str:
    return result_uid(context, film.SOPInstanceUID, kind, Comprehensive3DSRStorage)


def _content(film: Dataset, context: ResultContext, capture: Dataset | None) -> MeasurementReport:
    """Return the tree; what highdicom does not add is put where TID 1500 has it (rows 5 and 12)."""
    report = MeasurementReport(
        observation_context=_observer(context),
        procedure_reported=codes.IMAGING_PROCEDURE,
        imaging_measurements=[_measurement_group(film, context)],
        title=codes.IMAGING_MEASUREMENT_REPORT,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(
            CodedConcept.from_code(codes.ENGLISH)
        ),
    )
    rows = report[0].ContentSequence
    measurements = rows.pop()
    rows.extend([_image_library(film, capture), measurements, _comments()])
    return report


def _observer(context: ResultContext) -> ObservationContext:
    """TID 1002 and 1004: the device that observed."""
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=dicom_codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=device_observer_uid(context.device.node_id),
                name=MANUFACTURER,
                manufacturer_name=MANUFACTURER,
                model_name=context.algorithm.name,
                serial_number=context.device.node_id,
            ),
        )
    )


def _measurement_group(film: Dataset, context: ResultContext) -> MeasurementsAndQualitativeEvaluations:
    """TID 1501: the one class that is judged, with Finding and Finding Site only when it is present."""
    finding = context.finding
    present = finding.presence is Presence.PRESENT
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=result_uid(context, film.SOPInstanceUID, Kind.TRACKING), identifier=TRACKING_IDENTIFIER
        ),
        finding_type=codes.COVID_19 if present else None,
        finding_sites=[FindingSite(codes.LUNG, laterality=codes.BILATERAL)] if present else None,
        algorithm_id=AlgorithmIdentification(
            name=context.algorithm.name,
            version=context.algorithm.version,
            parameters=_algorithm_parameters(context),
        ),
        measurements=[
            Measurement(codes.PROBABILITY_OF_COVID_19, value=float(finding.percent), unit=codes.PERCENT)
        ],
        qualitative_evaluations=[QualitativeEvaluation(codes.COVID_19, codes.PRESENCE[finding.presence])],
        source_images=[SourceImageForMeasurementGroup(film.SOPClassUID, film.SOPInstanceUID)],
    )


def _algorithm_parameters(context: ResultContext) -> list[str]:
    finding = context.finding
    own = (
        f"weights SHA-256 {context.algorithm.weights_sha256}",
        f"decision threshold {finding.threshold:.4f}",
        f"abstain band {finding.band_low:.4f} to {finding.band_high:.4f}",
    )
    return list(dict.fromkeys((*own, *context.algorithm.parameters)))


def _image_library(film: Dataset, capture: Dataset | None) -> ContainerContentItem:
    """TID 1600: the film, then the heat map, each described by what its headers hold (TID 1602, 1603)."""
    # CID 29 codes the modality of acquisition, so the heat map bears its film's.
    modality = codes.MODALITIES.get(film.get("Modality", ""), codes.RADIOGRAPHY)
    group = _container(codes.IMAGE_LIBRARY_GROUP)
    group.ContentSequence = ContentSequence([_library_entry(codes.SOURCE, film, modality)])
    if capture is not None:
        group.ContentSequence.append(_library_entry(codes.HEAT_MAP, capture, modality))
    library = _container(codes.IMAGE_LIBRARY)
    library.ContentSequence = ContentSequence([group])
    return library


def _comments() -> ContainerContentItem:
    comments = _container(codes.QUALITATIVE_EVALUATIONS)
    comment = TextContentItem(codes.COMMENT, RESEARCH_COMMENT, RelationshipTypeValues.CONTAINS)
    comments.ContentSequence = ContentSequence([comment])
    return comments


def _container(name: Code) -> ContainerContentItem:
    return ContainerContentItem(name, relationship_type=RelationshipTypeValues.CONTAINS)


def _library_entry(name: Code, image: Dataset, modality: Code) -> ImageContentItem:
    entry = ImageContentItem(
        name,
        referenced_sop_class_uid=image.SOPClassUID,
        referenced_sop_instance_uid=image.SOPInstanceUID,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    entry.ContentSequence = ContentSequence(_descriptors(image, modality))
    return entry


def _descriptors(image: Dataset, modality: Code) -> list[ContentItem]:
    """TID 1602 rows 1-12 in order, then TID 1603 rows 3-6; a row without its attribute is left out."""
    acquired = RelationshipTypeValues.HAS_ACQ_CONTEXT
    items: list[ContentItem] = [CodeContentItem(codes.MODALITY, modality, acquired)]
    for date_name, time_name, keyword in (
        (codes.STUDY_DATE, codes.STUDY_TIME, "Study"),
        (codes.CONTENT_DATE, codes.CONTENT_TIME, "Content"),
        (codes.ACQUISITION_DATE, codes.ACQUISITION_TIME, "Acquisition"),
    ):
        if date := image.get(f"{keyword}Date"):
            items.append(DateContentItem(date_name, DA(date), acquired))
        if time := image.get(f"{keyword}Time"):
            items.append(TimeContentItem(time_name, TM(time), acquired))
    for number_name, keyword in (
        (codes.PIXEL_DATA_ROWS, "Rows"),
        (codes.PIXEL_DATA_COLUMNS, "Columns"),
    ):
        if keyword in image:
            items.append(NumContentItem(number_name, int(image[keyword].value), codes.PIXELS, None, acquired))
    return items + _projection_descriptors(image)


def _projection_descriptors(image: Dataset) -> list[ContentItem]:
    acquired = RelationshipTypeValues.HAS_ACQ_CONTEXT
    items: list[ContentItem] = []
    if orientation := image.get("PatientOrientation"):
        names: Sequence[Code] = (codes.PATIENT_ORIENTATION_ROW, codes.PATIENT_ORIENTATION_COLUMN)
        items += [
            TextContentItem(name, value, acquired) for name, value in zip(names, orientation, strict=True)
        ]
    # PS3.3 10.7.1.1: the spacing between columns, the horizontal one, comes second.
    spacing = image.get("ImagerPixelSpacing") or image.get("PixelSpacing")
    if spacing:
        names = (codes.HORIZONTAL_PIXEL_SPACING, codes.VERTICAL_PIXEL_SPACING)
        items += [
            NumContentItem(name, float(value), codes.MILLIMETRE, None, acquired)
            for name, value in zip(names, (spacing[1], spacing[0]), strict=True)
        ]
    return items
