"""The outbox: one row per result and destination, claimed under a lease, until its proof."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.orm import Session

from dicom_io.profiles import CHAIN, Profile
from dicom_io.scu import Identity
from worker import database
from worker.queries.delivery_row import change, image_of, let_go, settle
from worker.queries.images import LostLease
from worker.states import DeliveryState
from worker.tables import Delivery, Result

AWAY = "destination away"
"""How the reason begins of what waits for a destination that does not answer, whoever tried it last."""


@dataclass(frozen=True)
class DeliveryClaim:
    """The right to send one result to one destination, and all that is needed for it."""

    delivery_id: int
    token: str
    destination: str
    proof: str
    state: DeliveryState
    attempt: int
    unanswered: bool
    """An earlier send began and its answer was never seen."""
    age: timedelta
    """Since the result was made."""
    sha256: str
    identity: Identity
    profile: str
    """Form of the report."""
    refused_for: timedelta | None
    """How long refusals that are borne for a day have come in a row."""


def claim(session: Session, delivery_id: int, *, lease_s: float) -> DeliveryClaim | None:
    """Take the lease on a delivery that is work; None when it is done, not due, or somebody else's."""
    moment = database.now(session)
    delivery = session.scalar(
        select(Delivery)
        .where(Delivery.id == delivery_id, _is_work(), Delivery.due_at <= moment)
        .where(or_(Delivery.lease_until.is_(None), Delivery.lease_until < moment))
        .with_for_update(skip_locked=True)
    )
    if delivery is None:
        return None
    result = session.get_one(Result, delivery.result_id)
    token = uuid4().hex
    taken = DeliveryClaim(
        delivery_id=delivery.id,
        token=token,
        destination=delivery.destination,
        proof=delivery.proof,
        state=DeliveryState(delivery.state),
        attempt=delivery.attempts + 1,
        unanswered=delivery.unanswered,
        age=moment - delivery.created_at,
        refused_for=None if delivery.refused_since is None else moment - delivery.refused_since,
        **_object(session, delivery, result),
    )
    delivery.lease_token, delivery.lease_until = token, moment + timedelta(seconds=lease_s)
    delivery.attempts += 1
    # A kill in the middle of the send must not be forgotten: this is committed before it begins.
    delivery.unanswered = delivery.unanswered or delivery.state == DeliveryState.DUE
    return taken


def _object(session: Session, delivery: Delivery, result: Result) -> dict[str, Any]:
    """What a claim says of the object that is to be sent."""
    return {
        "sha256": result.sha256,
        "profile": result.profile,
        "identity": Identity(
            sop_class_uid=result.sop_class_uid,
            sop_instance_uid=result.sop_instance_uid,
            series_instance_uid=result.series_instance_uid,
            study_instance_uid=result.study_instance_uid,
            patient_id=image_of(session, delivery).patient_id,
        ),
    }


def renew(session: Session, claim: DeliveryClaim, *, lease_s: float) -> bool:
    """Prolong the lease; False when it is somebody else's by now, or was let go."""
    renewed = session.execute(
        update(Delivery)
        .where(Delivery.id == claim.delivery_id, Delivery.lease_token == claim.token)
        .values(lease_until=database.now(session) + timedelta(seconds=lease_s))
        .returning(Delivery.id)
    )
    return renewed.scalar() is not None


def sent(session: Session, claim: DeliveryClaim, status: int, words: str, *, actor: str) -> bool:
    """The destination took it; True when it is still to be asked for proof."""
    delivery = _held(session, claim)
    delivery.status, delivery.status_text, delivery.reason = status, words, None
    delivery.unanswered, delivery.refused_since = False, None
    delivery.sent_at = database.now(session)
    change(session, delivery, DeliveryState.SENT, actor=actor, cause=words)
    if delivery.proof == "none":
        let_go(delivery)
        settle(session, delivery, actor=actor)
        return False
    return True


def confirmed(session: Session, claim: DeliveryClaim, cause: str, *, actor: str) -> None:
    """End: the destination was asked and has it."""
    delivery = _held(session, claim)
    moment = database.now(session)
    delivery.confirmed_at, delivery.unanswered, delivery.reason = moment, False, None
    delivery.sent_at = delivery.sent_at or moment
    change(session, delivery, DeliveryState.CONFIRMED, actor=actor, cause=cause)
    let_go(delivery)
    settle(session, delivery, actor=actor)


def later(
    session: Session,
    claim: DeliveryClaim,
    wait: timedelta,
    reason: str,
    *,
    answered: bool,
    refused: bool | None = False,
) -> None:
    """Try again after a while.

    Parameters
    ----------
    answered
        Whether it is known what became of the last send.
    refused
        Whether this was a refusal that is borne for a day; None leaves that term as it is.
    """
    delivery, moment = _held(session, claim), database.now(session)
    delivery.due_at = moment + wait
    delivery.rung_at = None
    delivery.reason = reason
    if answered:
        delivery.unanswered = False
    if refused is not None:
        delivery.refused_since = (delivery.refused_since or moment) if refused else None
    let_go(delivery)


def fall_back(session: Session, claim: DeliveryClaim, cause: str, *, actor: str) -> DeliveryClaim | None:
    """Go on, under the same lease, with the next form of the report; None when there is none."""
    delivery = _held(session, claim)
    refused = session.get_one(Result, delivery.result_id)
    following = _next_form(session, delivery, refused)
    if following is None:
        return None
    delivery.result_id = following.id
    delivery.fell_back_from = ", ".join(filter(None, (delivery.fell_back_from, refused.profile)))
    change(
        session,
        delivery,
        DeliveryState.DUE,
        actor=actor,
        cause=f"{refused.profile} refused: {cause}; next {following.profile}",
    )
    session.flush()
    return replace(claim, unanswered=False, **_object(session, delivery, following))


def _next_form(session: Session, delivery: Delivery, refused: Result) -> Result | None:
    """The same report in the next profile of the chain that was made, and is not on its way there already."""
    if refused.profile not in CHAIN:
        return None
    after = CHAIN[CHAIN.index(Profile(refused.profile)) + 1 :]
    others = {result.profile: result for result in _forms(session, refused)}
    there = select(Delivery.result_id).where(Delivery.destination == delivery.destination)
    taken = set(session.scalars(there.where(Delivery.result_id.in_([r.id for r in others.values()]))))
    return next((others[p] for p in after if p in others and others[p].id not in taken), None)


def _forms(session: Session, result: Result) -> Sequence[Result]:
    """All forms in which the same thing is said."""
    return session.scalars(
        select(Result).where(
            Result.image_id == result.image_id,
            Result.analysis_id.is_not_distinct_from(result.analysis_id),
            Result.kind == result.kind,
        )
    ).all()


def send_again(session: Session, claim: DeliveryClaim, cause: str, *, actor: str) -> None:
    """The destination was asked and does not have what it took: back to due."""
    delivery = _held(session, claim)
    delivery.rung_at = None
    change(session, delivery, DeliveryState.DUE, actor=actor, cause=cause)
    let_go(delivery)


def give_up(session: Session, claim: DeliveryClaim, reason: str, *, actor: str) -> None:
    """End: no further attempt makes sense."""
    delivery = _held(session, claim)
    delivery.reason = reason
    change(session, delivery, DeliveryState.DEAD, actor=actor, cause=reason)
    let_go(delivery)
    settle(session, delivery, actor=actor)


def postpone_destination(session: Session, destination: str, wait: timedelta, reason: str) -> None:
    """Circuit breaker: while a destination does not answer, one delivery in a while is tried, not all."""
    due_at = database.now(session) + wait
    ids = _free(Delivery.destination == destination, Delivery.due_at <= due_at)
    session.execute(
        update(Delivery)
        .where(Delivery.id.in_(ids))
        .values(due_at=due_at, rung_at=None, reason=f"{AWAY}: {reason}")
    )


def release_destination(session: Session, destination: str) -> None:
    """Close the breaker: the destination answers again, so what waited only for it is due now."""
    moment = database.now(session)
    waiting = (Delivery.due_at > moment, Delivery.reason.startswith(AWAY))
    ids = _free(Delivery.destination == destination, *waiting)
    session.execute(update(Delivery).where(Delivery.id.in_(ids)).values(due_at=moment, reason=None))


def _held(session: Session, claim: DeliveryClaim) -> Delivery:
    delivery = session.scalar(
        select(Delivery)
        .where(Delivery.id == claim.delivery_id, Delivery.lease_token == claim.token)
        .with_for_update()
    )
    if delivery is None:
        raise LostLease(f"delivery {claim.delivery_id}: the lease went to another worker")
    return delivery


def _free(*conditions: ColumnElement[bool]) -> Select[int]:
    """Ids of open deliveries that nobody holds, locked in one order: two that do this must not deadlock."""
    return (
        select(Delivery.id)
        .where(_is_work(), Delivery.lease_token.is_(None), *conditions)
        .order_by(Delivery.id)
        .with_for_update(skip_locked=True)
    )


def reopen(session: Session, image_id: int, *, actor: str) -> int:
    """Take the dead deliveries of an image up again, with a new term; returns how many there were."""
    dead = session.scalars(
        select(Delivery)
        .join(Result, Result.id == Delivery.result_id)
        .where(Result.image_id == image_id, Delivery.state == DeliveryState.DEAD)
    ).all()
    moment = database.now(session)
    for delivery in dead:
        change(session, delivery, DeliveryState.DUE, actor=actor, cause="retry by an operator")
        # Else one that was given up for its age would be given up at once.
        delivery.created_at = delivery.due_at = moment
        delivery.attempts, delivery.rung_at, delivery.reason = 0, None, None
        _begin_with_the_richest(session, delivery)
    return len(dead)


def _begin_with_the_richest(session: Session, delivery: Delivery) -> None:
    """The operator may have taught the destination what it refused."""
    if delivery.fell_back_from is not None:
        first = delivery.fell_back_from.split(", ")[0]
        forms = {r.profile: r for r in _forms(session, session.get_one(Result, delivery.result_id))}
        delivery.result_id = forms[first].id
    delivery.fell_back_from = delivery.refused_since = None


def to_ring(session: Session, *, ring_again_s: float, limit: int) -> list[int]:
    """Ids of deliveries that are work and of which Celery does not know, as far as we know."""
    moment = database.now(session)
    return list(
        session.scalars(
            select(Delivery.id)
            .where(_is_work(), Delivery.due_at <= moment)
            .where(or_(Delivery.lease_until.is_(None), Delivery.lease_until < moment))
            .where(
                or_(Delivery.rung_at.is_(None), Delivery.rung_at < moment - timedelta(seconds=ring_again_s))
            )
            .order_by(func.coalesce(Delivery.rung_at, Delivery.due_at), Delivery.id)
            .limit(limit)
        )
    )


def mark_rung(session: Session, delivery_ids: list[int]) -> None:
    """Note that messages went out."""
    ids = _free(Delivery.id.in_(delivery_ids))
    session.execute(update(Delivery).where(Delivery.id.in_(ids)).values(rung_at=database.now(session)))


def _is_work() -> ColumnElement[bool]:
    """Due rows, and sent ones whose destination is still to be asked."""
    unproved = and_(Delivery.state == DeliveryState.SENT, Delivery.proof != "none")
    return or_(Delivery.state == DeliveryState.DUE, unproved)
