"""One delivery row under its lease: its changes of state, and what they mean for the film."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker import database
from worker.queries.images import move
from worker.states import DeliveryState, ImageState, check_delivery
from worker.tables import Delivery, Event, Image, Result


def let_go(delivery: Delivery) -> None:
    """Give the lease back."""
    delivery.lease_token = delivery.lease_until = None


def image_of(session: Session, delivery: Delivery) -> Image:
    """The image whose result this is, locked: two last deliveries must not both find the other one open."""
    return session.scalars(
        select(Image)
        .join(Result, Result.image_id == Image.id)
        .where(Result.id == delivery.result_id)
        .with_for_update(of=Image)
    ).one()


def change(session: Session, delivery: Delivery, after: DeliveryState, *, actor: str, cause: str) -> None:
    """Change the state, if the table allows it, and leave an event."""
    before = DeliveryState(delivery.state)
    check_delivery(before, after)
    delivery.state = after
    session.add(
        Event(
            at=database.now(session),
            image_id=image_of(session, delivery).id,
            delivery_id=delivery.id,
            actor=actor,
            before=before,
            after=after,
            cause=cause,
        )
    )


def settle(session: Session, delivery: Delivery, *, actor: str) -> None:
    """Bring the image to its end when this was its last open delivery."""
    session.flush()
    image = image_of(session, delivery)
    if image.state != ImageState.ANALYSED:
        return
    siblings = session.scalars(
        select(Delivery).join(Result, Result.id == Delivery.result_id).where(Result.image_id == image.id)
    ).all()
    if any(_is_open(sibling) for sibling in siblings):
        return
    dead = [sibling for sibling in siblings if sibling.state == DeliveryState.DEAD]
    if dead:
        image.reason = "delivery"
        image.reason_detail = f"{len(dead)} of {len(siblings)} deliveries given up: {dead[0].reason}"
        move(session, image, ImageState.DEAD, actor=actor, cause=image.reason_detail)
    else:
        move(
            session, image, ImageState.REPORTED, actor=actor, cause=f"{len(siblings)} deliveries at their end"
        )


def _is_open(delivery: Delivery) -> bool:
    if delivery.state == DeliveryState.SENT:
        return delivery.proof != "none"
    return delivery.state == DeliveryState.DUE
