"""UIDs derived from what a result is made of, so that a repeat gives the same object (PS3.5 B.2)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from dicom_io.findings import Provenance, RefusalContext
from dicom_io.profiles import REPORT_SOP_CLASS, Profile

NAMESPACE: Final = UUID("7d1c2f0e-3a5b-5c46-9f0d-2b8f6e41c9a7")
"""Namespace of every UUID of version 5 that we derive; another value would rename every object ever sent."""


class Kind(StrEnum):
    """What a derived UID stands for."""

    REPORT = "report"
    """The structured report."""
    REPORT_SERIES = "report-series"
    """The series that holds it."""
    HEAT_MAP = "heat-map"
    """The secondary capture with the heat map."""
    HEAT_MAP_SERIES = "heat-map-series"
    """The series that holds it."""
    SUMMARY = "summary"
    """The secondary capture with the summary page."""
    SUMMARY_SERIES = "summary-series"
    """The series that holds it."""
    PRESENTATION = "presentation"
    """The grayscale softcopy presentation state."""
    PRESENTATION_SERIES = "presentation-series"
    """The series that holds it."""
    REFUSAL = "refusal"
    """The structured report on a film that was not judged."""
    REFUSAL_SERIES = "refusal-series"
    """The series that holds it."""
    TRACKING = "tracking"
    """Tracking Unique Identifier of the measurement group (TID 1501, row 3)."""


@dataclass(frozen=True)
class UidSource:
    """What makes one UID differ from another."""

    source_sop_instance_uid: str
    """SOP Instance UID of the film that was judged."""
    model_name: str
    model_version: str
    weights_sha256: str
    kind: str
    """A `Kind`, or a word of the caller's own."""
    sop_class_uid: str = ""
    """SOP Class UID of the object, so that the same kind in two SOP classes has two UIDs."""
    profile: str = ""
    """Profile of the destination, so that two profiles never share a UID."""
    reissue_hash: str | None = None
    """Content hash of the film, when an operator has the result issued again."""


def derived_uid(source: UidSource) -> str:
    """Return the UID of one object, series or tracked finding; the same for the same source.

    Parameters
    ----------
    source : UidSource
        What the UID is derived from.

    Returns
    -------
    str
        `2.25.` followed by the decimal value of a UUID of version 5; at most 44 characters.

    References
    ----------
    PS3.5 section 9.1 and B.2; RFC 9562 section 5.5.
    """
    fields = [
        source.source_sop_instance_uid,
        source.model_name,
        source.model_version,
        source.weights_sha256,
        source.kind,
        source.sop_class_uid,
        source.profile,
    ]
    if source.reissue_hash is not None:
        fields.append(source.reissue_hash)
    return _uid_of(fields)


def result_uid(
    context: Provenance,
    source_sop_instance_uid: str,
    kind: Kind | str,
    sop_class_uid: str = "",
    profile: Profile | None = None,
) -> str:
    """Return the UID of one part of the result that `context` describes.

    Parameters
    ----------
    context : Provenance
        Its algorithm and reissue hash enter the UID.
    source_sop_instance_uid : str
        SOP Instance UID of the film.
    kind : Kind | str
        What the UID stands for.
    sop_class_uid : str
        SOP Class UID of the object; empty for a tracking UID.
    profile : Profile | None
        Form of the report; None for everything else. The default profile keeps the UIDs that reports had
        before there were others.

    Returns
    -------
    str
        See `derived_uid`.
    """
    algorithm = context.algorithm
    return derived_uid(
        UidSource(
            source_sop_instance_uid=source_sop_instance_uid,
            model_name=algorithm.name,
            model_version=algorithm.version,
            weights_sha256=algorithm.weights_sha256,
            kind=kind,
            sop_class_uid=sop_class_uid,
            profile="" if profile in (None, Profile.COMPREHENSIVE_3D) else str(profile),
            reissue_hash=context.reissue_hash,
        )
    )


def report_uids(context: Provenance, source_sop_instance_uid: str, profile: Profile) -> tuple[str, str]:
    """Return SOP and Series Instance UID of a report: each profile has its own, and each refusal.

    Parameters
    ----------
    context : Provenance
        What the report says; the reason of a refusal enters, since another limit gives another reason.
    source_sop_instance_uid : str
        SOP Instance UID of the film.
    profile : Profile
        Form of the report.
    """
    kinds: tuple[str, str] = (Kind.REPORT, Kind.REPORT_SERIES)
    if isinstance(context, RefusalContext):
        kinds = (f"{Kind.REFUSAL}:{context.reason}", f"{Kind.REFUSAL_SERIES}:{context.reason}")
    sop_class = REPORT_SOP_CLASS[profile]
    instance, series = (
        result_uid(context, source_sop_instance_uid, kind, sop_class, profile) for kind in kinds
    )
    return instance, series


def device_observer_uid(node_id: str) -> str:
    """Return the UID of an installation (TID 1004, Device Observer UID): one per node id, not per film.

    Parameters
    ----------
    node_id : str
        Node id from the settings.

    Returns
    -------
    str
        See `derived_uid`.
    """
    return _uid_of(["device-observer", "cxr-worker", node_id])


def _uid_of(fields: list[str]) -> str:
    # A separator inside a field would let two different lists give one UID.
    name = "|".join(field.replace("\\", "\\\\").replace("|", "\\|") for field in fields)
    return f"2.25.{uuid5(NAMESPACE, name).int}"


IMPLEMENTATION_CLASS_UID: Final = _uid_of(["implementation-class", "cxr-worker"])
"""Implementation Class UID of the files that we write (PS3.7 D.3.3.2, PS3.10 7.1)."""
IMPLEMENTATION_VERSION_NAME: Final = "CXR-WORKER"
