"""The story of one image, from its claim to its stored results, top to bottom."""

import logging
import time
from functools import partial

from pydicom.dataset import Dataset

from dicom_io.acceptance import Reason, Refusal
from dicom_io.errors import CxrError, NotDicom, PermanentError
from dicom_io.headers import read_dataset, read_header
from worker import database, outcome, twins
from worker.context import Context
from worker.faults import place_of
from worker.lease import kept
from worker.queries import images
from worker.queries.images import Claim, LostLease
from worker.reading import Refused, displayed
from worker.retry import RANDOM, wait_before

log = logging.getLogger(__name__)


class SpoolLost(PermanentError):
    """The film's file is gone: no further attempt can help."""


def analyse(context: Context, image_id: int) -> None:
    """Judge one image and bring its row to the state that follows; nothing that a film holds raises."""
    settings = context.settings
    with database.write(context.engine) as session:
        claim = images.claim(session, image_id, lease_s=settings.lease_s, actor=context.actor)
        if claim is not None and claim.attempt > settings.max_attempts:
            detail = f"{settings.max_attempts} analyses began and none ended"
            images.give_up(session, claim, "attempts", detail, actor=context.actor)
            return
    if claim is None:
        return
    try:
        renew = partial(images.renew, claim=claim, lease_s=settings.lease_s)
        with kept(context.engine, settings.lease_s, renew):
            _reach_an_end(context, claim)
    except LostLease as lost:
        log.warning("%s: nothing written", lost)


def _reach_an_end(context: Context, claim: Claim) -> None:
    """Turn each way in which the work can end into a state."""
    try:
        _judge(context, claim)
    except Refused as refused:
        refusal = refused.refusal
        with database.write(context.engine) as session:
            images.refuse(session, claim, refusal.reason, refusal.detail, actor=context.actor)
        log.info("image %d refused: %s", claim.image_id, refusal.reason)
    except PermanentError as error:
        with database.write(context.engine) as session:
            images.give_up(session, claim, type(error).__name__, str(error), actor=context.actor)
        log.error("image %d dead: %s", claim.image_id, error)
    except LostLease:
        raise
    except CxrError as error:
        _hand_back(context, claim, str(error))
    except Exception as error:  # noqa: BLE001 (the edge: a fault of ours must not cost the film)
        # Neither message nor traceback: they may quote the data set.
        _hand_back(context, claim, f"{type(error).__name__} at {place_of(error)}")


def _judge(context: Context, claim: Claim) -> None:
    began = time.monotonic()
    dataset = _read(context, claim)
    image_HW = displayed(dataset, context.settings)
    prediction = context.predictor(image_HW)
    judged = outcome.build(context, dataset, image_HW, prediction)
    with database.write(context.engine) as session:
        deliveries = outcome.write(session, claim, judged, context, duration_s=time.monotonic() - began)
    log.info("image %d analysed in %.2f s", claim.image_id, time.monotonic() - began)
    outcome.ring(deliveries)


def _read(context: Context, claim: Claim) -> Dataset:
    """Open the film, keep what its header says, and compare it with an earlier one of the same UID."""
    with database.read(context.engine) as session:
        spool_name, earlier = images.spooled(session, claim)
    path = context.spool.path(spool_name)
    if not path.is_file():
        raise SpoolLost(f"image {claim.image_id}: expected its film in the spool, the file is missing")
    try:
        dataset = read_dataset(path)
    except NotDicom as error:
        raise Refused(Refusal(Reason.NOT_DICOM, str(error))) from error
    with database.write(context.engine) as session:
        images.describe(session, claim, read_header(dataset))
    refusal = twins.compare(dataset, context.spool.path(earlier)) if earlier else None
    if refusal is not None:
        raise Refused(refusal)
    # Read anew for the results: pydicom drops the escape sequences of a name once it was looked at.
    return read_dataset(path)


def _hand_back(context: Context, claim: Claim, cause: str) -> None:
    log.error("image %d handed back: %s", claim.image_id, cause)
    with database.write(context.engine) as session:
        wait = wait_before(claim.attempt, RANDOM)
        images.hand_back(session, claim, wait, cause, actor=context.actor)
