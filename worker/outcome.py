"""What an analysed film leaves behind: result objects on disk, and rows in one transaction."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from sqlalchemy.orm import Session

from dicom_io.capture import build_capture
from dicom_io.findings import Algorithm, Finding, Presence, ResultContext
from dicom_io.report import build_report, encode
from dicom_io.selfcheck import check_result
from dicom_io.spool import StoredObject
from worker import __version__, bell, database
from worker.queries import images
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
class BuiltObject:
    """One result object, checked and on disk."""

    kind: str
    profile: str
    dataset: Dataset
    stored: StoredObject


@dataclass(frozen=True)
class Judged:
    """A judged film with its result objects."""

    info: ModelInfo
    prediction: Prediction
    objects: tuple[BuiltObject, ...]


def describe(context: Context, prediction: Prediction) -> ResultContext:
    """Put a prediction into the words of DICOM."""
    info = context.predictor.info
    with database.read(context.engine) as session:
        # In the site's zone: a film without an offset has its own times in that.
        created_at = database.now(session).astimezone()
    return ResultContext(
        finding=Finding(
            presence=PRESENCE[prediction.decision],
            probability=prediction.probability,
            threshold=info.threshold,
            band_low=info.band_low,
            band_high=info.band_high,
        ),
        algorithm=Algorithm(info.name, info.version, info.weights_sha256, parameters(info)),
        device=context.device,
        created_at=created_at,
    )


def parameters(info: ModelInfo) -> tuple[str, ...]:
    """Lines of the report's algorithm (TID 4019), besides hash, threshold and band, which it adds."""
    return (
        f"input size: {info.input_size} x {info.input_size} px",
        f"calibration: {info.calibration}",
        f"prevalence at training: {info.prevalence_training:.3f}, assumed: {info.prevalence_assumed:.3f}",
        f"backend: {info.backend}",
    )


def build(context: Context, source: Dataset, image_HW: NDArray[np.float32], prediction: Prediction) -> Judged:
    """Make the result objects, check each, and put them on disk.

    Raises
    ------
    InvalidResult
        An object failed its check; nothing is sent.
    StorageError
        The results folder cannot be written.
    """
    words = describe(context, prediction)
    capture = build_capture(source, image_HW, prediction.cam_HW, words)
    report = build_report(source, words, capture)
    built = []
    for kind, dataset in (("sc", capture), ("sr", report)):
        encoded = encode(dataset)
        check_result(encoded, source, words)
        built.append(BuiltObject(kind, "default", dataset, context.results.write(encoded)))
    return Judged(context.predictor.info, prediction, tuple(built))


def write(
    session: Session, claim: Claim, judged: Judged, context: Context, *, duration_s: float
) -> list[int]:
    """Write analysis, results and deliveries and move the image on; returns the deliveries' ids."""
    image, moment = images.held(session, claim), database.now(session)
    analysis = _analysis(claim.image_id, judged, context)
    analysis.created_at, analysis.duration_s = moment, duration_s
    session.add(analysis)
    session.flush()
    results = [_result(analysis, built) for built in judged.objects]
    for result in results:
        result.created_at = moment
    session.add_all(results)
    session.flush()
    deliveries = [
        Delivery(
            result_id=result.id,
            destination=destination.name,
            proof=destination.proof,
            state=DeliveryState.DUE,
            created_at=moment,
            due_at=moment,
            # They are rung right after this commit; the sweeper rings only what that left out.
            rung_at=moment,
        )
        for destination in context.settings.destination
        for result in results
    ]
    session.add_all(deliveries)
    cause = f"{judged.prediction.decision} by {judged.info.name} {judged.info.version}"
    images.move(session, image, ImageState.ANALYSED, actor=context.actor, cause=cause)
    if not deliveries:
        cause = "no destination is configured: the result is in the database alone"
        images.move(session, image, ImageState.REPORTED, actor=context.actor, cause=cause)
    images.let_go(image)
    session.flush()
    return [delivery.id for delivery in deliveries]


def ring(delivery_ids: list[int]) -> None:
    """Tell Celery of new deliveries at once; when the broker is away a sweeper does it later."""
    try:
        for delivery_id in delivery_ids:
            bell.ring_deliver(delivery_id)
    except bell.AWAY:
        log.warning("the broker is away: deliveries wait for the sweeper")


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


def _result(analysis: Analysis, built: BuiltObject) -> Result:
    return Result(
        image_id=analysis.image_id,
        analysis_id=analysis.id,
        kind=built.kind,
        profile=built.profile,
        sop_class_uid=str(built.dataset.SOPClassUID),
        sop_instance_uid=str(built.dataset.SOPInstanceUID),
        study_instance_uid=str(built.dataset.StudyInstanceUID),
        series_instance_uid=str(built.dataset.SeriesInstanceUID),
        sha256=built.stored.name,
        size_bytes=built.stored.size_bytes,
    )
