"""What a judged or refused film leaves behind: result objects on disk, and rows in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io import codes
from dicom_io.acceptance import Reason
from dicom_io.errors import InvalidResult
from dicom_io.findings import (
    Algorithm,
    EarlierReport,
    Finding,
    Presence,
    RefusalContext,
    ResultContext,
)
from worker import __version__, bell, database, objects
from worker.objects import BuiltObject, Pictures
from worker.queries import earlier, images
from worker.queries.images import Claim
from worker.states import DeliveryState, ImageState
from worker.tables import Analysis, Delivery, Result

if TYPE_CHECKING:
    from model.predict import ModelInfo, Prediction
    from worker.context import Context

log = logging.getLogger(__name__)

PRESENCE = {
    "positive": Presence.PRESENT,
    "negative": Presence.ABSENT,
    "indeterminate": Presence.UNDETERMINED,
}
"""The model's decision in the words of the report."""


@dataclass(frozen=True)
class Judged:
    """A judged film with its result objects."""

    info: ModelInfo
    prediction: Prediction
    objects: tuple[BuiltObject, ...]


@dataclass(frozen=True)
class _Circumstances:
    """What a report says besides finding and algorithm, as the database has it."""

    created_at: datetime
    """In the site's zone: a film without an offset has its own times in that."""
    reissue_hash: str | None
    earlier: tuple[EarlierReport, ...]


def describe(context: Context, claim: Claim, prediction: Prediction) -> ResultContext:
    """Put a prediction into the words of DICOM."""
    info, around = context.predictor.info, _circumstances(context, claim)
    return ResultContext(
        finding=Finding(
            presence=PRESENCE[prediction.decision],
            probability=prediction.probability,
            threshold=info.threshold,
            band_low=info.band_low,
            band_high=info.band_high,
        ),
        algorithm=_algorithm(info),
        device=context.device,
        created_at=around.created_at,
        reissue_hash=around.reissue_hash,
        earlier=around.earlier,
    )


def _circumstances(context: Context, claim: Claim) -> _Circumstances:
    with database.read(context.engine) as session:
        return _Circumstances(
            created_at=database.now(session).astimezone(),
            reissue_hash=earlier.reissue_hash(session, claim.image_id),
            earlier=earlier.earlier_reports(session, claim.image_id),
        )


def _algorithm(info: ModelInfo) -> Algorithm:
    return Algorithm(info.name, info.version, info.weights_sha256, parameters(info))


def parameters(info: ModelInfo) -> tuple[str, ...]:
    """Lines of the report's algorithm (TID 4019), besides hash, threshold and band, which it adds."""
    return (
        f"input size: {info.input_size} x {info.input_size} px",
        f"calibration: {info.calibration}",
        f"prevalence at training: {info.prevalence_training:.3f}, assumed: {info.prevalence_assumed:.3f}",
        f"backend: {info.backend}",
    )


def build(
    context: Context, claim: Claim, source: Dataset, image_HW: NDArray[np.float32], prediction: Prediction
) -> Judged:
    """Make the result objects, check each, and put them on disk.

    Raises
    ------
    InvalidResult
        An object failed its check; nothing is sent.
    StorageError
        The results folder cannot be written.
    """
    words = describe(context, claim, prediction)
    pictures = Pictures(image_HW, prediction.cam_HW)
    made = objects.build_all(context, source, pictures, words)
    return Judged(context.predictor.info, prediction, made)


def build_refusal(context: Context, claim: Claim, source: Dataset, reason: Reason) -> tuple[BuiltObject, ...]:
    """Make the reports that say why a film was not judged; none where the settings or the reason forbid it.

    Raises
    ------
    ModelUnusable
        The report names the model that was to judge, and there is none.
    StorageError
        The results folder cannot be written.
    """
    if not (context.settings.report_refusals and context.settings.destination) or reason in codes.UNREPORTED:
        return ()
    around = _circumstances(context, claim)
    words = RefusalContext(
        reason=reason,
        algorithm=_algorithm(context.predictor.info),
        device=context.device,
        created_at=around.created_at,
        reissue_hash=around.reissue_hash,
        earlier=around.earlier,
    )
    try:
        return objects.build_all_of_refusal(context, source, words)
    except InvalidResult as error:
        # A film without a usable identity is refused all the same.
        log.error("image %d is refused without a report: %s", claim.image_id, error)
        return ()


def write(
    session: Session, claim: Claim, judged: Judged, context: Context, *, duration_s: float
) -> list[int]:
    """Write analysis, results and deliveries and move the image on; returns the deliveries' ids."""
    image, moment = images.held(session, claim), database.now(session)
    analysis = _analysis(claim.image_id, judged, context)
    analysis.created_at, analysis.duration_s = moment, duration_s
    session.add(analysis)
    session.flush()
    deliveries = _write_objects(session, context, claim.image_id, judged.objects, analysis.id)
    cause = f"{judged.prediction.decision} by {judged.info.name} {judged.info.version}"
    images.move(session, image, ImageState.ANALYSED, actor=context.actor, cause=cause)
    if not deliveries:
        cause = "no destination is configured: the result is in the database alone"
        images.move(session, image, ImageState.REPORTED, actor=context.actor, cause=cause)
    images.let_go(image)
    session.flush()
    return deliveries


def write_refusal(
    session: Session, claim: Claim, built: Sequence[BuiltObject], context: Context
) -> list[int]:
    """Write the reports on a refused film, in the transaction that refuses it; returns the deliveries' ids.

    The film is at its end; its deliveries run on.
    """
    uids = [str(one.dataset.SOPInstanceUID) for one in built]
    if session.scalar(select(Result.id).where(Result.sop_instance_uid.in_(uids)).limit(1)) is not None:
        # A damaged film that came twice, in other bytes: the same report.
        return []
    return _write_objects(session, context, claim.image_id, built, None)


def ring(delivery_ids: list[int]) -> None:
    """Tell Celery of new deliveries at once; when the broker is away a sweeper does it later."""
    try:
        for delivery_id in delivery_ids:
            bell.ring_deliver(delivery_id)
    except bell.AWAY:
        log.warning("the broker is away: deliveries wait for the sweeper")


def _write_objects(
    session: Session,
    context: Context,
    image_id: int,
    built: Sequence[BuiltObject],
    analysis_id: int | None,
) -> list[int]:
    """Write a result for each object, and a delivery for each that a destination wants."""
    moment = database.now(session)
    results = {one.stored.name: _result(image_id, analysis_id, one) for one in built}
    for result in results.values():
        result.created_at = moment
    session.add_all(results.values())
    session.flush()
    deliveries = [
        Delivery(
            result_id=results[one.stored.name].id,
            destination=destination.name,
            proof=destination.proof,
            state=DeliveryState.DUE,
            created_at=moment,
            due_at=moment,
            # They are rung right after this commit; the sweeper rings only what that left out.
            rung_at=moment,
        )
        for destination in context.settings.destination
        for one in objects.wanted_by(destination, built)
    ]
    session.add_all(deliveries)
    session.flush()
    return [delivery.id for delivery in deliveries]


def _analysis(image_id: int, judged: Judged, context: Context) -> Analysis:
    info, prediction = judged.info, judged.prediction
    return Analysis(
        image_id=image_id,
        model_name=info.name,
        model_version=info.version,
        weights_sha256=info.weights_sha256,
        package_version=__version__,
        node_id=context.settings.node_id,
        backend=info.backend,
        decision=prediction.decision,
        probability=prediction.probability,
        threshold=info.threshold,
        band_low=info.band_low,
        band_high=info.band_high,
    )


def _result(image_id: int, analysis_id: int | None, built: BuiltObject) -> Result:
    return Result(
        image_id=image_id,
        analysis_id=analysis_id,
        kind=built.kind,
        profile=built.profile,
        sop_class_uid=str(built.dataset.SOPClassUID),
        sop_instance_uid=str(built.dataset.SOPInstanceUID),
        study_instance_uid=str(built.dataset.StudyInstanceUID),
        series_instance_uid=str(built.dataset.SeriesInstanceUID),
        sha256=built.stored.name,
        size_bytes=built.stored.size_bytes,
    )
