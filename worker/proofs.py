"""What it takes to believe that a destination has an object: commitment, a query, or nothing."""

from datetime import timedelta

from pydicom.uid import generate_uid

from dicom_io.errors import DestinationError, HoldsAnother, Unreachable
from dicom_io.scu import Outcome, StoreAnswer
from worker import database, outbox
from worker.context import Context
from worker.peers import Peer
from worker.queries import commitments, deliveries
from worker.queries.deliveries import DeliveryClaim

ASK_AGAIN_CAP_S = 60.0
"""A PACS may index what it took a little later; then it is asked soon again."""
ASK_AT_MOST = 10
"""Times that a destination is asked for an object that it took before the object is sent again."""
BY_QUERY = ("find", "qido")
"""Proofs that a query gives."""


def sent(context: Context, claim: DeliveryClaim, answer: StoreAnswer, peer: Peer) -> None:
    """The destination took it: note that, and ask for the proof."""
    with database.write(context.engine) as session:
        wanted = deliveries.sent(session, claim, answer.status, answer.text, actor=context.actor)
    outbox.release(context, claim)
    if wanted and claim.proof == "commitment":
        _ask_for_commitment(context, claim, peer)
    elif wanted and not _found(context, claim, peer):
        _not_found_yet(context, claim, peer)


def prove(context: Context, claim: DeliveryClaim, peer: Peer) -> None:
    """Ask for the proof of what was taken earlier."""
    if claim.proof == "commitment":
        _ask_for_commitment(context, claim, peer)
    elif _found(context, claim, peer):
        return
    elif claim.attempt % ASK_AT_MOST:
        _not_found_yet(context, claim, peer)
    else:
        cause = f"taken, but not found by {peer.query}"
        with database.write(context.engine) as session:
            deliveries.send_again(session, claim, cause, actor=context.actor)


def is_there(context: Context, claim: DeliveryClaim, peer: Peer) -> bool:
    """Ask after a send without an answer; True when the destination has it and that is written down.

    A destination whose proof is a query must answer it. Of another one that cannot be asked nothing is known,
    and the same object is sent again, under the same UID.
    """
    try:
        if claim.proof != "commitment":
            return _found(context, claim, peer)
        if peer.find(claim.identity) is None:
            return False
    except (Unreachable, HoldsAnother):
        raise
    except DestinationError:
        if claim.proof in BY_QUERY:
            raise
        return False
    sent(context, claim, StoreAnswer(0x0000, Outcome.SENT, f"found by {peer.query}"), peer)
    return True


def duplicate(context: Context, claim: DeliveryClaim, answer: StoreAnswer, peer: Peer) -> None:
    """The destination says that it has it: ask and compare, where it can be asked."""
    try:
        differing = peer.find(claim.identity)
    except HoldsAnother:
        raise
    except DestinationError:
        if claim.proof in BY_QUERY:
            raise
        # Nobody but us makes this UID, and never for other bytes.
        sent(context, claim, answer, peer)
        return
    if differing is None:
        outbox.later(context, claim, f"{answer.text}, but {peer.query} does not find it", answered=True)
    elif claim.proof == "commitment":
        sent(context, claim, answer, peer)
    else:
        _confirm(context, claim, peer, differing)


def _found(context: Context, claim: DeliveryClaim, peer: Peer) -> bool:
    """Ask by query; found is confirmed, with the names of what the destination coerced."""
    differing = peer.find(claim.identity)
    if differing is None:
        return False
    _confirm(context, claim, peer, differing)
    return True


def _confirm(context: Context, claim: DeliveryClaim, peer: Peer, differing: tuple[str, ...]) -> None:
    cause = f"found by {peer.query}" + (f"; coerced there: {', '.join(differing)}" if differing else "")
    with database.write(context.engine) as session:
        deliveries.confirmed(session, claim, cause, actor=context.actor)
    outbox.release(context, claim)


def _not_found_yet(context: Context, claim: DeliveryClaim, peer: Peer) -> None:
    reason = f"sent, not found by {peer.query} yet"
    outbox.later(context, claim, reason, answered=True, cap_s=ASK_AGAIN_CAP_S)


def _ask_for_commitment(context: Context, claim: DeliveryClaim, peer: Peer) -> None:
    """Ask, and go on when the answer is there at once; else the listener hears it, or we ask again."""
    transaction_uid = str(generate_uid(prefix=None))
    with database.write(context.engine) as session:
        commitments.ask(session, claim, transaction_uid)
    settings = context.settings
    for came in peer.commit(transaction_uid, claim.identity):
        with database.write(context.engine) as session:
            known = commitments.answer(
                session, came, actor=context.actor, term=timedelta(days=settings.delivery_days)
            )
        if known and came.transaction_uid == transaction_uid:
            outbox.release(context, claim)
            return
    reason = "sent, commitment asked for, no answer yet"
    if not outbox.too_old(context, claim, reason):
        wait = timedelta(seconds=settings.commitment_wait_s)
        outbox.again_in(context, claim, wait, reason, answered=True, refused=None)
