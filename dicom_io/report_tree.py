"""The tree of a report (TID 1500, Imaging Measurement Report), for a film that was judged or refused.

Built by highdicom. Two rules are ours. A report that is not Present holds neither a Finding nor a Finding
Site row, so that no viewer shows "Finding = COVID-19" above an "Absent" at its end; and the number bears our
own code, which names P(COVID-19) whatever the decision.
"""

from typing import Final

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dicom_codes

from dicom_io import codes
from dicom_io.findings import Finding, Presence, Provenance, RefusalContext, ResultContext
from dicom_io.identity import MANUFACTURER
from dicom_io.report_library import build_container, build_library
from dicom_io.uids import Kind, device_observer_uid, result_uid

TRACKING_IDENTIFIER: Final = "AI-1 COVID-19"
RESEARCH_COMMENT: Final = "Research software, not for diagnosis."


def build_tree(
    film: Dataset, context: ResultContext | RefusalContext, capture: Dataset | None
) -> MeasurementReport:
    """Return the content of a report in one of the forms that hold TID 1500.

    Parameters
    ----------
    film : Dataset
        Clean headers of the film, as `view_evidence` returns them.
    context : ResultContext | RefusalContext
        The finding, or why there is none.
    capture : Dataset | None
        The heat map; None without one.

    Returns
    -------
    MeasurementReport
        The root container; what highdicom does not add stands where TID 1500 has it (rows 5 and 12).

    References
    ----------
    PS3.16 TID 1500, 1501, 4019.
    """
    report = MeasurementReport(
        observation_context=build_observer(context),
        procedure_reported=codes.IMAGING_PROCEDURE,
        imaging_measurements=[_group(film, context)],
        title=codes.IMAGING_MEASUREMENT_REPORT,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(
            CodedConcept.from_code(codes.ENGLISH)
        ),
    )
    rows = report[0].ContentSequence
    measurements = rows.pop()
    comments = [
        TextContentItem(codes.COMMENT, text, RelationshipTypeValues.CONTAINS)
        for text in (RESEARCH_COMMENT, *name_earlier(context))
    ]
    rows.extend(
        [
            build_library(film, capture),
            measurements,
            build_container(codes.QUALITATIVE_EVALUATIONS, comments),
        ]
    )
    return report


def build_observer(context: Provenance) -> ObservationContext:
    """Return the device that observed (TID 1001, 1002 and 1004).

    Parameters
    ----------
    context : Provenance
        Its device and algorithm are named.
    """
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


def parameters_of(context: ResultContext | RefusalContext) -> list[str]:
    """Return the lines that describe the algorithm (TID 4019, Algorithm Parameters).

    Parameters
    ----------
    context : ResultContext | RefusalContext
        The algorithm; of a film that was judged also threshold and abstain band.
    """
    own = [f"weights SHA-256 {context.algorithm.weights_sha256}"]
    if isinstance(context, ResultContext):
        finding = context.finding
        own += [
            f"decision threshold {finding.threshold:.4f}",
            f"abstain band {finding.band_low:.4f} to {finding.band_high:.4f}",
        ]
    return list(dict.fromkeys((*own, *context.algorithm.parameters)))


def name_earlier(context: Provenance) -> list[str]:
    """Return one sentence for each report that came before this one and stays where it is.

    Parameters
    ----------
    context : Provenance
        Its earlier reports are named.
    """
    return [
        f"Earlier report on this film, by model version {report.model_version}, not replaced by this one: "
        f"SOP Instance UID {report.sop_instance_uid}"
        for report in context.earlier
    ]


def _group(film: Dataset, context: ResultContext | RefusalContext) -> MeasurementsAndQualitativeEvaluations:
    """TID 1501: the one class that is judged, with Finding and Finding Site only when it is present."""
    finding = context.finding if isinstance(context, ResultContext) else None
    present = finding is not None and finding.presence is Presence.PRESENT
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=result_uid(context, film.SOPInstanceUID, Kind.TRACKING), identifier=TRACKING_IDENTIFIER
        ),
        finding_type=codes.COVID_19 if present else None,
        finding_sites=[FindingSite(codes.LUNG, laterality=codes.BILATERAL)] if present else None,
        algorithm_id=AlgorithmIdentification(
            name=context.algorithm.name,
            version=context.algorithm.version,
            parameters=parameters_of(context),
        ),
        measurements=None if finding is None else [_probability(finding)],
        qualitative_evaluations=_evaluations(context),
        source_images=[SourceImageForMeasurementGroup(film.SOPClassUID, film.SOPInstanceUID)],
    )


def _probability(finding: Finding) -> Measurement:
    return Measurement(codes.PROBABILITY_OF_COVID_19, value=float(finding.percent), unit=codes.PERCENT)


def _evaluations(context: ResultContext | RefusalContext) -> list[QualitativeEvaluation]:
    if isinstance(context, ResultContext):
        return [QualitativeEvaluation(codes.COVID_19, codes.PRESENCE[context.finding.presence])]
    return [
        QualitativeEvaluation(codes.COVID_19, codes.PRESENCE[Presence.UNDETERMINED]),
        QualitativeEvaluation(codes.QUALITY_ASSESSMENT, codes.REFUSAL[context.reason]),
    ]
