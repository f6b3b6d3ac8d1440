"""Questions by Storage Commitment and their answers, which come to whoever hears them first."""

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.commitment import FollowUp, follow_up_of
from dicom_io.commitment_scp import CommitmentAnswer
from worker import database
from worker.queries.deliveries import DeliveryClaim
from worker.queries.delivery_row import change, let_go, settle
from worker.retry import RANDOM, wait_before
from worker.states import DeliveryState
from worker.tables import Commitment, Delivery, Result

A_DAY = timedelta(days=1)
OPEN = (DeliveryState.DUE, DeliveryState.SENT)


def ask(session: Session, claim: DeliveryClaim, transaction_uid: str) -> None:
    """Note the question; committed before it goes out, since the answer may come to another process."""
    session.add(
        Commitment(
            delivery_id=claim.delivery_id, transaction_uid=transaction_uid, asked_at=database.now(session)
        )
    )


def answer(session: Session, came: CommitmentAnswer, *, actor: str, term: timedelta) -> bool:
    """Write what a destination answered; False when we did not ask that.

    A commitment counts whenever it comes and whoever holds the lease on the delivery; whoever holds it finds
    it gone and writes nothing. A failure counts only as the answer to the latest question.

    Parameters
    ----------
    term
        How old a delivery may become without its proof.
    """
    question = session.scalar(
        select(Commitment).where(Commitment.transaction_uid == came.transaction_uid).with_for_update()
    )
    if question is None:
        return False
    delivery = session.scalars(
        select(Delivery).where(Delivery.id == question.delivery_id).with_for_update()
    ).one()
    uid = session.get_one(Result, delivery.result_id).sop_instance_uid
    committed = any(reference.sop_instance_uid == uid for reference in came.committed)
    failures = [reason for reference, reason in came.failed if reference.sop_instance_uid == uid]
    if not committed and not failures:
        return False
    question.answered_at = database.now(session)
    question.failure_reason = None if committed else failures[0]
    if committed and delivery.state in OPEN:
        _confirm(session, delivery, actor)
    elif failures and delivery.state == DeliveryState.SENT and _is_latest(session, question):
        _bear(session, delivery, failures[0], actor, term)
    return True


def _is_latest(session: Session, question: Commitment) -> bool:
    later = select(Commitment.id).where(
        Commitment.delivery_id == question.delivery_id, Commitment.id > question.id
    )
    return session.scalar(later.limit(1)) is None


def _confirm(session: Session, delivery: Delivery, actor: str) -> None:
    moment = database.now(session)
    delivery.confirmed_at, delivery.unanswered = moment, False
    delivery.reason = delivery.refused_since = None
    delivery.sent_at = delivery.sent_at or moment
    change(session, delivery, DeliveryState.CONFIRMED, actor=actor, cause="storage committed")
    let_go(delivery)
    settle(session, delivery, actor=actor)


def _bear(session: Session, delivery: Delivery, failure: int, actor: str, term: timedelta) -> None:
    """Take a failure for what the table says it is."""
    follow_up, words = follow_up_of(failure)
    reason, moment = f"not committed: 0x{failure:04X} {words}", database.now(session)
    delivery.reason, delivery.rung_at = reason, None
    delivery.due_at = moment + wait_before(delivery.attempts, RANDOM)
    let_go(delivery)
    for_a_day = follow_up == FollowUp.ASK_FOR_A_DAY
    delivery.refused_since = (delivery.refused_since or moment) if for_a_day else None
    if for_a_day and moment - (delivery.refused_since or moment) > A_DAY:
        _give_up(session, delivery, f"{reason}, for {A_DAY}", actor)
    elif moment - delivery.created_at > term:
        _give_up(session, delivery, f"no success in {term / A_DAY:g} days; last: {reason}", actor)
    elif follow_up == FollowUp.SEND_AGAIN:
        change(session, delivery, DeliveryState.DUE, actor=actor, cause=reason)


def _give_up(session: Session, delivery: Delivery, reason: str, actor: str) -> None:
    delivery.reason = reason
    change(session, delivery, DeliveryState.DEAD, actor=actor, cause=reason)
    settle(session, delivery, actor=actor)
