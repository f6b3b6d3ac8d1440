"""The tables, named as in the documentation; what users query is the view `results`."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from worker.states import DeliveryState, ImageState

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""So that migrations can name every constraint."""

RowId = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only in a column of type INTEGER."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: `timestamptz` on PostgreSQL; on SQLite text in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive moment, which every reader would take for another."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("expected a datetime with a time zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Base(DeclarativeBase):
    """Declarative base with the naming convention."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime(), str: Text()}  # noqa: RUF012 (SQLAlchemy's own form)


class Image(Base):
    """One SOP instance that was received: the unit of work, and the inbox."""

    __tablename__ = "image"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "content_sha256"),
        Index("ix_image_state_due_at", "state", "due_at"),
        Index("ix_image_study_instance_uid", "study_instance_uid"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    sop_instance_uid: Mapped[str]
    """From the command set of the C-STORE."""
    sop_class_uid: Mapped[str]
    """From the command set of the C-STORE."""
    transfer_syntax_uid: Mapped[str]
    """As negotiated and stored."""
    content_sha256: Mapped[str] = mapped_column(String(64))
    """Hash of the data set without file meta information."""
    spool_name: Mapped[str] = mapped_column(String(64))
    """Name of the file in the spool: hash of the whole file."""
    size_bytes: Mapped[int] = mapped_column(BigInteger())
    calling_aet: Mapped[str]
    calling_host: Mapped[str]
    received_at: Mapped[datetime]
    state: Mapped[ImageState] = mapped_column(String(16))
    reason: Mapped[str | None]
    """Code of the refusal or death."""
    reason_detail: Mapped[str | None]
    """The same in words, without patient data."""

    attempts: Mapped[int] = mapped_column(default=0)
    """Analyses begun, without those that our own trouble ended."""
    hand_backs: Mapped[int] = mapped_column(default=0)
    """Analyses that our own trouble ended: a full disk, a missing model."""
    waiting_since: Mapped[datetime]
    """When it was received, or last taken up by an operator: the term of hand-backs begins here."""
    due_at: Mapped[datetime]
    """Not before this moment."""
    rung_at: Mapped[datetime | None]
    """When Celery was last told of it."""
    claimed_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    lease_token: Mapped[str | None]
    """Who may write the outcome; a worker that was thought dead holds an older one."""
    lease_until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    """When the image reached its end."""
    reissue_hash: Mapped[str | None] = mapped_column(String(64))
    """Content hash that enters the derived UIDs, once an operator had a refused film judged anew."""
    header_name: Mapped[str | None] = mapped_column(String(64))
    """Name of what is kept in `headers`, once the film's own file was removed from the spool."""

    study_instance_uid: Mapped[str | None]
    series_instance_uid: Mapped[str | None]
    patient_id: Mapped[str | None]
    patient_name: Mapped[str | None]
    patient_sex: Mapped[str | None]
    patient_age_years: Mapped[float | None]
    accession_number: Mapped[str | None]
    study_date: Mapped[str | None]
    """As in the film, YYYYMMDD."""
    study_description: Mapped[str | None]
    modality: Mapped[str | None]
    body_part_examined: Mapped[str | None]
    view_position: Mapped[str | None]
    burned_in_annotation: Mapped[str | None]
    manufacturer: Mapped[str | None]


class Analysis(Base):
    """The judgement of one image by one version of the model."""

    __tablename__ = "analysis"
    __table_args__ = (UniqueConstraint("image_id", "model_name", "model_version", "weights_sha256"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    model_name: Mapped[str]
    model_version: Mapped[str]
    weights_sha256: Mapped[str] = mapped_column(String(64))
    package_version: Mapped[str]
    node_id: Mapped[str]
    backend: Mapped[str]
    decision: Mapped[str]
    """`positive`, `negative` or `indeterminate`."""
    probability: Mapped[float]
    """Calibrated P(COVID-19), 0-1."""
    threshold: Mapped[float]
    band_low: Mapped[float]
    band_high: Mapped[float]
    duration_s: Mapped[float]
    """From the claim to the stored results."""
    created_at: Mapped[datetime]


class Result(Base):
    """One DICOM object that we made; its bytes lie in the results folder under their hash."""

    __tablename__ = "result"
    __table_args__ = (UniqueConstraint("sop_instance_uid"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), index=True)
    """The film that it is about."""
    analysis_id: Mapped[int | None] = mapped_column(ForeignKey("analysis.id"), index=True)
    """The judgement that it tells; none for the report of a refused film."""
    kind: Mapped[str]
    """`sr` or `sc`."""
    profile: Mapped[str]
    """Form of a report (`dicom_io.profiles`); an analysis may hold its report in several."""
    sop_class_uid: Mapped[str]
    sop_instance_uid: Mapped[str]
    study_instance_uid: Mapped[str]
    series_instance_uid: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger())
    created_at: Mapped[datetime]


class Delivery(Base):
    """One result on its way to one destination."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("result_id", "destination"),
        Index("ix_delivery_state_due_at", "state", "due_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    result_id: Mapped[int] = mapped_column(ForeignKey("result.id"))
    destination: Mapped[str]
    proof: Mapped[str]
    """What `confirmed` takes there: `none`, `find`, `qido` or `commitment`."""
    state: Mapped[DeliveryState] = mapped_column(String(16))
    reason: Mapped[str | None]
    """Why it is dead, or why the last attempt led to nothing."""
    attempts: Mapped[int] = mapped_column(default=0)
    unanswered: Mapped[bool] = mapped_column(default=False)
    """A send began and its answer was never seen: ask before sending again."""
    status: Mapped[int | None]
    """Last C-STORE status."""
    status_text: Mapped[str | None]
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    rung_at: Mapped[datetime | None]
    lease_token: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    refused_since: Mapped[datetime | None]
    """First of the refusals in a row that are borne for a day."""
    fell_back_from: Mapped[str | None]
    """Profiles that the destination refused before this one, comma between."""


class Commitment(Base):
    """One question by Storage Commitment, and its answer, which may come hours later to the listener."""

    __tablename__ = "commitment"
    __table_args__ = (UniqueConstraint("transaction_uid"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), index=True)
    transaction_uid: Mapped[str]
    """Names the question; the answer repeats it (PS3.4 section J.3)."""
    asked_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    failure_reason: Mapped[int | None]
    """What the answer says against it (PS3.3 section C.14.1.1); none when it commits."""


class Event(Base):
    """Every change of state, with time, actor and cause."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    at: Mapped[datetime]
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), index=True)
    delivery_id: Mapped[int | None] = mapped_column(ForeignKey("delivery.id"))
    actor: Mapped[str]
    """Node id and part."""
    before: Mapped[str | None]
    after: Mapped[str]
    cause: Mapped[str]


class Rejection(Base):
    """What was turned away before it became an image, counted by who and why."""

    __tablename__ = "rejection"
    __table_args__ = (UniqueConstraint("calling_aet", "calling_host", "reason"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    calling_aet: Mapped[str]
    calling_host: Mapped[str]
    reason: Mapped[str]
    """`unknown_sender`, `invalid_uid` or `sop_class_mismatch`."""
    detail: Mapped[str]
    count: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]


RESULTS_VIEW = """
CREATE VIEW results AS
SELECT
    image.id AS image_id,
    image.received_at,
    image.state,
    image.reason,
    image.reason_detail,
    analysis.decision,
    analysis.probability,
    analysis.threshold,
    analysis.model_name,
    analysis.model_version,
    analysis.created_at AS analysed_at,
    image.ended_at,
    image.patient_id,
    image.accession_number,
    image.study_date,
    image.modality,
    image.study_instance_uid,
    image.series_instance_uid,
    image.sop_instance_uid,
    image.calling_aet,
    (SELECT result.sop_instance_uid FROM result LEFT JOIN delivery ON delivery.result_id = result.id
     WHERE result.image_id = image.id AND coalesce(result.analysis_id, 0) = coalesce(analysis.id, 0)
     AND result.kind = 'sr' ORDER BY delivery.id IS NULL, result.id LIMIT 1) AS sr_sop_instance_uid,
    (SELECT result.sop_instance_uid FROM result
     WHERE result.image_id = image.id AND coalesce(result.analysis_id, 0) = coalesce(analysis.id, 0)
     AND result.kind = 'sc' ORDER BY result.id LIMIT 1) AS sc_sop_instance_uid,
    (SELECT count(*) FROM delivery JOIN result ON result.id = delivery.result_id
     WHERE result.image_id = image.id
     AND coalesce(result.analysis_id, 0) = coalesce(analysis.id, 0)) AS deliveries,
    (SELECT count(*) FROM delivery JOIN result ON result.id = delivery.result_id
     WHERE result.image_id = image.id AND coalesce(result.analysis_id, 0) = coalesce(analysis.id, 0)
     AND delivery.state IN ('sent', 'confirmed')) AS deliveries_sent,
    (SELECT count(*) FROM delivery JOIN result ON result.id = delivery.result_id
     WHERE result.image_id = image.id AND coalesce(result.analysis_id, 0) = coalesce(analysis.id, 0)
     AND delivery.state = 'confirmed') AS deliveries_proved,
    (SELECT result.profile FROM delivery JOIN result ON result.id = delivery.result_id
     WHERE result.image_id = image.id AND coalesce(result.analysis_id, 0) = coalesce(analysis.id, 0)
     AND delivery.fell_back_from IS NOT NULL ORDER BY result.id DESC LIMIT 1) AS fell_back_to
FROM image
LEFT JOIN analysis ON analysis.image_id = image.id
"""
"""One row per image and analysis; an image without an analysis has one row with nulls.

Of a report that is kept in several forms the one that is delivered is named; with several destinations that
took different forms, the richest of them, and under `fell_back_to` the plainest.
"""
