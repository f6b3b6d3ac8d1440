"""The story of one image, from its claim to its stored results, top to bottom."""

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from pydicom.dataset import Dataset
from sqlalchemy.exc import OperationalError

from dicom_io.acceptance import Reason, Refusal
from dicom_io.errors import CxrError, NotDicom, PermanentError
from dicom_io.headers import identity_problem, printable, read_header
from dicom_io.part10 import read_dataset
from worker import database, outcome, twins
from worker.context import Context, ModelUnusable
from worker.faults import place_of
from worker.header_keeper import write_header
from worker.lease import kept
from worker.objects import BuiltObject
from worker.one_look import OneLook
from worker.queries import images
from worker.queries.images import Claim, LostLease
from worker.queries.reissue import ModelKey, was_judged_by
from worker.reading import Refused, displayed
from worker.retry import RANDOM, wait_before

log = logging.getLogger(__name__)


DETAIL_CHARACTERS = 500
"""Longest detail that is stored."""


def analyse(context: Context, image_id: int) -> None:
    """Judge one image and bring its row to the state that follows; nothing that a film holds raises."""
    settings = context.settings
    with database.write(context.engine) as session:
        claim = images.claim(session, image_id, lease_s=settings.lease_s, actor=context.actor)
        if claim is not None and claim.attempt > settings.max_attempts:
            last = images.last_cause(session, image_id)
            detail = f"{settings.max_attempts} analyses began and none ended; the last: {last}"
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
        _refuse(context, claim, refused.refusal)
    except PermanentError as error:
        _give_up(context, claim, type(error).__name__, str(error))
    except LostLease:
        raise
    except (CxrError, OperationalError, OSError) as error:
        # Our own trouble: a full disk, a missing model, a database that is away. The film can wait for days.
        words = str(error) if isinstance(error, CxrError) else type(error).__name__
        if claim.age > timedelta(days=context.settings.analysis_days):
            _give_up(context, claim, "our_trouble", words)
        else:
            _hand_back(context, claim, words, claim.hand_backs + 1, our_trouble=True)
    except Exception as error:  # noqa: BLE001 (the edge: a fault of ours must not cost the film)
        # Neither message nor traceback: they may quote the data set.
        fault = f"{type(error).__name__} at {place_of(error)}"
        _hand_back(context, claim, fault, claim.attempt, our_trouble=False)


def _judge(context: Context, claim: Claim) -> None:
    began = time.monotonic()
    dataset = _read(context, claim)
    look = OneLook(context.predictor)
    try:
        image_HW = displayed(dataset, context.settings, look.gate)
    except Refused as refused:
        reports = outcome.build_refusal(context, claim, dataset, refused.refusal.reason)
        _refuse(context, claim, refused.refusal, reports)
        return
    prediction = look.judge(image_HW)
    _require_new_judgement(context, claim)
    judged = outcome.build(context, claim, dataset, image_HW, prediction)
    with database.write(context.engine) as session:
        deliveries = outcome.write(session, claim, judged, context, duration_s=time.monotonic() - began)
    log.info("image %d analysed in %.2f s", claim.image_id, time.monotonic() - began)
    outcome.ring(deliveries)


def _require_new_judgement(context: Context, claim: Claim) -> None:
    """A film that is judged anew waits for a worker that holds the newer model."""
    info = context.predictor.info
    model = ModelKey(info.name, info.version, info.weights_sha256)
    with database.read(context.engine) as session:
        if was_judged_by(session, claim.image_id, model):
            raise ModelUnusable(
                f"expected another model than {info.name} {info.version}, which has judged this film and is "
                "what this worker holds: restart the workers"
            )


def _read(context: Context, claim: Claim) -> Dataset:
    """Open the film, keep what its header says, and compare it with an earlier one of the same UID."""
    with database.read(context.engine) as session:
        film = images.spooled(session, claim)
    context.spool.check(film.name)
    path = context.spool.path(film.name)
    try:
        dataset = read_dataset(path)
    except NotDicom as error:
        raise Refused(Refusal(Reason.NOT_DICOM, str(error))) from error
    problem = identity_problem(dataset, film.sop_instance_uid)
    if problem is not None:
        raise Refused(Refusal(Reason.INVALID_UID, problem))
    with database.write(context.engine) as session:
        images.describe(session, claim, read_header(dataset))
    if film.is_ours:
        # A PACS may rewrite Manufacturer; it keeps the UID that we gave.
        raise Refused(Refusal(Reason.OWN_OUTPUT, "expected a film of a modality, came a result of ours"))
    if film.earlier and not film.reissue:
        earlier = [(image_id, context.spool.path(name)) for image_id, name in film.earlier]
        refusal = twins.compare(dataset, earlier)
        if refusal is not None:
            raise Refused(refusal)
    # Read anew for the results: pydicom drops the escape sequences of a name once it was looked at.
    return read_dataset(path)


def _refuse(context: Context, claim: Claim, refusal: Refusal, reports: Sequence[BuiltObject] = ()) -> None:
    """End: must not be judged; what was made to say so is sent all the same."""
    reason, detail = refusal.reason, printable(refusal.detail, DETAIL_CHARACTERS)
    with database.read(context.engine) as session:
        film = images.spooled(session, claim).name
    header = write_header(context.headers, context.spool.path(film), reason)
    with database.write(context.engine) as session:
        images.refuse(session, claim, reason, detail, actor=context.actor, header_name=header)
        deliveries = outcome.write_refusal(session, claim, reports, context)
    if header is not None:
        # Killed before this, the listener finds a file that no row needs when it starts.
        context.spool.remove(film)
    level = logging.ERROR if reason == Reason.IDENTITY_CHANGED else logging.INFO
    log.log(level, "image %d refused: %s", claim.image_id, reason)
    outcome.ring(deliveries)


def _give_up(context: Context, claim: Claim, reason: str, detail: str) -> None:
    log.error("image %d dead: %s", claim.image_id, reason)
    with database.write(context.engine) as session:
        detail = printable(detail, DETAIL_CHARACTERS)
        images.give_up(session, claim, reason, detail, actor=context.actor)


def _hand_back(context: Context, claim: Claim, cause: str, tries: int, *, our_trouble: bool) -> None:
    wait, cause = wait_before(tries, RANDOM), printable(cause, DETAIL_CHARACTERS)
    log.error("image %d handed back for %.0f s: %s", claim.image_id, wait.total_seconds(), cause)
    with database.write(context.engine) as session:
        images.hand_back(session, claim, wait, cause, actor=context.actor, our_trouble=our_trouble)
