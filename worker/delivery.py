"""Take one result a step on its way to one destination: the story, whose parts are told elsewhere.

`worker.peers` is the destination, `worker.proofs` what it takes to believe it, `worker.outbox` the waiting.
"""

import logging
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from dicom_io.errors import CxrError, DamagedObject, HoldsAnother, Unanswered, Unreachable
from dicom_io.scu import Outcome, StoreAnswer
from worker import database, outbox, proofs
from worker.context import Context
from worker.faults import place_of
from worker.lease import kept
from worker.peers import Peer, peer_of
from worker.queries import deliveries
from worker.queries.deliveries import DeliveryClaim
from worker.queries.images import LostLease
from worker.settings import Destination
from worker.states import DeliveryState

log = logging.getLogger(__name__)

SOP_CLASS_NOT_SUPPORTED = 0x0122
"""Said of the class, so true of the next film too; other refusals are about one object."""


def deliver(context: Context, delivery_id: int) -> None:
    """Take one delivery a step on; never raises for what a destination does."""
    lease_s = context.settings.lease_s
    with database.write(context.engine) as session:
        claim = deliveries.claim(session, delivery_id, lease_s=lease_s)
    if claim is None:
        return
    try:
        with kept(context.engine, lease_s, partial(deliveries.renew, claim=claim, lease_s=lease_s)):
            _step(context, claim)
    except LostLease as lost:
        log.warning("%s: nothing written", lost)


def _step(context: Context, claim: DeliveryClaim) -> None:
    """Turn each way a step can end into a state."""
    destination = context.settings.destination_named(claim.destination)
    try:
        if destination is None:
            # It may only be this worker's configuration that is old.
            outbox.later_or_dead(context, claim, "the destination is not in the configuration")
        else:
            _send_or_ask(context, claim, destination)
    except DamagedObject as error:
        outbox.dead(context, claim, str(error))
    except HoldsAnother as error:
        # It stays there whatever we send, and a person must look: borne for a day.
        outbox.later_or_dead(context, claim, str(error))
    except Unreachable as error:
        wait = outbox.later(context, claim, str(error), answered=not claim.unanswered)
        with database.write(context.engine) as session:
            # One wait for all, this one too: when the destination is back they go out together.
            deliveries.postpone_destination(session, claim.destination, wait, str(error))
    except CxrError as error:
        answered = not claim.unanswered and not isinstance(error, Unanswered)
        outbox.later(context, claim, str(error), answered=answered)
    except (LostLease, SQLAlchemyError):
        raise
    except Exception as error:  # noqa: BLE001 (the edge: whatever a peer answers, the result is kept)
        outbox.later(context, claim, f"{type(error).__name__} at {place_of(error)}", answered=False)


def _send_or_ask(context: Context, claim: DeliveryClaim, destination: Destination) -> None:
    peer = peer_of(destination, context.settings)
    if claim.state == DeliveryState.SENT:
        proofs.prove(context, claim, peer)
        return
    # After a send without an answer: ask first, a second copy would be a duplicate.
    if claim.unanswered and proofs.is_there(context, claim, peer):
        return
    may_fall_back = destination.profile == "auto"
    if may_fall_back:
        claim = _pass_over_what_was_refused(context, claim)
    answer = peer.store(context.results.read(claim.sha256))
    # Without the peer's comment, which may quote a patient.
    log.info(
        "delivery %d to %s: 0x%04X %s", claim.delivery_id, claim.destination, answer.status, answer.words
    )
    if may_fall_back and answer.outcome in (Outcome.NEVER, Outcome.AGAIN_FOR_A_DAY):
        if answer.status == SOP_CLASS_NOT_SUPPORTED:
            context.refused_classes.note(claim.destination, claim.identity.sop_class_uid)
        following = _fall_back(context, claim, answer.text)
        if following is not None:
            _send_or_ask(context, following, destination)
            return
    _take(context, claim, answer, peer)


def _pass_over_what_was_refused(context: Context, claim: DeliveryClaim) -> DeliveryClaim:
    """Begin with the form after those that this destination refused a while ago; without one try again."""
    while context.refused_classes.holds(claim.destination, claim.identity.sop_class_uid):
        following = _fall_back(context, claim, "SOP class refused there within the last hour")
        if following is None:
            break
        claim = following
    return claim


def _fall_back(context: Context, claim: DeliveryClaim, cause: str) -> DeliveryClaim | None:
    with database.write(context.engine) as session:
        return deliveries.fall_back(session, claim, cause, actor=context.actor)


def _take(context: Context, claim: DeliveryClaim, answer: StoreAnswer, peer: Peer) -> None:
    """Turn the answer to a send into a state, by the table in `dicom_io.scu`."""
    match answer.outcome:
        case Outcome.SENT:
            proofs.sent(context, claim, answer, peer)
        case Outcome.DUPLICATE:
            proofs.duplicate(context, claim, answer, peer)
        case Outcome.NEVER:
            outbox.dead(context, claim, answer.text)
        case Outcome.AGAIN_FOR_A_DAY:
            outbox.later_or_dead(context, claim, answer.text)
        case Outcome.AGAIN_ALARM:
            log.error("%s refuses us (0x%04X): an administrator must act", claim.destination, answer.status)
            outbox.later(context, claim, answer.text, answered=True)
        case _:
            outbox.later(context, claim, answer.text, answered=True)
