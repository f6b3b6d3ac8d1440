"""What was found on one film, in the words of DICOM; the worker fills it, report and capture write it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dicom_io.acceptance import Reason


class Presence(StrEnum):
    """The qualitative evaluation of COVID-19 (values of CID 240-style presence concepts, SNOMED CT)."""

    PRESENT = "present"
    """(52101004, SCT, "Present")"""
    ABSENT = "absent"
    """(272519000, SCT, "Absent")"""
    UNDETERMINED = "undetermined"
    """(373068000, SCT, "Undetermined"): the probability lies inside the abstain band."""


@dataclass(frozen=True)
class Algorithm:
    """The algorithm that judged the film (TID 4019, Algorithm Identification)."""

    name: str
    version: str
    """Model version, as kept in the database."""
    weights_sha256: str
    """Hash of the weights file, hexadecimal, lower case."""
    parameters: tuple[str, ...] = ()
    """One line each for what no other field says: input size, calibration, prevalence at training and the
    one assumed, backend. The report itself adds the weights hash, the threshold and the abstain band."""


@dataclass(frozen=True)
class Device:
    """The installation that produced the object (TID 1004, General Equipment module)."""

    node_id: str
    """Device serial number: the node id of the settings."""
    software_version: str
    """Version of the package cxr-worker."""


@dataclass(frozen=True)
class Finding:
    """The judgement of one film about COVID-19."""

    presence: Presence
    probability: float
    """Calibrated P(COVID-19), 0-1, whatever the presence."""
    threshold: float
    """Decision threshold on the same scale, 0-1."""
    band_low: float
    """Lower limit of the abstain band, 0-1; equal to `band_high` when there is none."""
    band_high: float
    """Upper limit of the abstain band, 0-1."""

    @property
    def percent(self) -> str:
        """The probability in percent with one decimal, as every object writes it: `87.3`."""
        return f"{self.probability * 100:.1f}"


@dataclass(frozen=True)
class EarlierReport:
    """A report on the same film that an older model, or an earlier issue, left in the PACS."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    model_version: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who speaks in a result object, and when."""

    algorithm: Algorithm
    device: Device
    created_at: datetime
    """Time-zone aware; written in the source's TimezoneOffsetFromUTC when it has one."""
    reissue_hash: str | None = None
    """Content hash that enters the derived UIDs when an operator reissues a film; else None."""
    earlier: tuple[EarlierReport, ...] = ()
    """Reports on this film that stay where they are; listed as evidence and named in a comment."""


@dataclass(frozen=True, kw_only=True)
class ResultContext(Provenance):
    """All that one result object says besides the film itself."""

    finding: Finding


@dataclass(frozen=True, kw_only=True)
class RefusalContext(Provenance):
    """All that the report on a refused film says besides the film itself."""

    reason: Reason
    """Why the film was not judged; one that `codes.REFUSAL` has a code for."""
