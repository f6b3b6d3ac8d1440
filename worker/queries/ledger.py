"""What an administrator asks: the ledger, the results, what was turned away, and trying again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.orm import Session

from dicom_io.acceptance import Reason
from dicom_io.headers import printable
from dicom_io.scp import Peer
from worker import database
from worker.queries.deliveries import reopen
from worker.queries.images import move
from worker.states import IMAGE_ENDS, DeliveryState, ImageState
from worker.tables import Delivery, Event, Image, Rejection, Result, UtcDateTime

FILTERS = {
    "since": "received_at >= :since",
    "until": "received_at < :until",
    "patient": "patient_id = :patient",
    "study": "study_instance_uid = :study",
    "decision": "decision = :decision",
    "state": "state = :state",
}
"""Filters of `cxr-worker results`, as conditions on the view."""
MOMENTS = frozenset({"since", "until"})
"""Those whose value is a moment."""


DELIVERED_IN = frozenset({ImageState.ANALYSED, ImageState.REFUSED, ImageState.DEAD})
"""States of an image of which a delivery may have been given up."""

MOST_TITLES_OF_A_HOST = 50
"""Rows of turned away AE titles that one host gets for one reason."""
FURTHER_TITLES = "further AE titles"
"""Calling AE title of the row that counts all others; longer than any that can be called."""


@dataclass(frozen=True)
class Ledger:
    """Received films against the states in which they are."""

    received: int
    """Films whose receipt was recorded, from the events: they are never deleted with their row."""
    states: dict[str, int] = field(default_factory=dict)
    """Rows per state."""

    @property
    def waiting(self) -> int:
        """Rows in no end state."""
        return sum(n for state, n in self.states.items() if ImageState(state) not in IMAGE_ENDS)

    def count(self, state: ImageState) -> int:
        """Rows in that state."""
        return self.states.get(state, 0)

    @property
    def difference(self) -> int:
        """Received minus reported, refused, dead and waiting; zero when the ledger balances."""
        return self.received - sum(self.states.values())


def ledger(session: Session) -> Ledger:
    """Count receipts and states in one snapshot."""
    received = session.scalar(
        select(func.count()).select_from(Event).where(Event.before.is_(None), Event.delivery_id.is_(None))
    )
    rows = session.execute(select(Image.state, func.count()).group_by(Image.state))
    return Ledger(int(received or 0), {str(state): int(count) for state, count in rows})


def lost_images(session: Session) -> list[int]:
    """Ids of images that were received, by their event, and that have no row any more."""
    rows = select(Image.id).where(Image.id == Event.image_id)
    received = select(Event.image_id).where(Event.before.is_(None), Event.delivery_id.is_(None))
    return list(session.scalars(received.where(~rows.exists()).order_by(Event.image_id)))


def results(session: Session, filters: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """Rows of the view `results`, newest first.

    Parameters
    ----------
    filters
        Keys of `FILTERS` with their values.
    limit
        Rows at most.
    """
    conditions = [FILTERS[name] for name in filters]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = text(f"SELECT * FROM results{where} ORDER BY image_id DESC LIMIT :limit").bindparams(
        # Written as the column is: SQLite compares moments as text.
        *(bindparam(name, type_=UtcDateTime()) for name in MOMENTS.intersection(filters))
    )
    return [dict(row) for row in session.execute(statement, {**filters, "limit": limit}).mappings()]


def deliveries(session: Session) -> list[tuple[str, str, str, int]]:
    """Deliveries per destination, state and proof."""
    what = (Delivery.destination, Delivery.state, Delivery.proof)
    rows = session.execute(select(*what, func.count()).group_by(*what).order_by(*what))
    return [(destination, str(state), proof, int(count)) for destination, state, proof, count in rows]


def waiting_deliveries(session: Session) -> list[tuple[str, str, int, datetime]]:
    """What deliveries wait for: destination, reason, how many, and when the first is tried again."""
    rows = session.execute(
        select(Delivery.destination, Delivery.reason, func.count(), func.min(Delivery.due_at))
        .where(Delivery.state.in_((DeliveryState.DUE, DeliveryState.SENT)), Delivery.reason.is_not(None))
        .group_by(Delivery.destination, Delivery.reason)
        .order_by(Delivery.destination, Delivery.reason)
    )
    return [(destination, str(reason), int(count), due_at) for destination, reason, count, due_at in rows]


def rejections(session: Session) -> Sequence[Rejection]:
    """Who was turned away, latest first."""
    return session.scalars(select(Rejection).order_by(Rejection.last_at.desc())).all()


def dead_images(session: Session) -> Sequence[Image]:
    """Films that were given up."""
    return session.scalars(select(Image).where(Image.state == ImageState.DEAD).order_by(Image.id)).all()


def undelivered(session: Session) -> list[tuple[int, int, str]]:
    """Films that are not dead, of which a delivery is: id, how many deliveries, and why one was given up."""
    rows = session.execute(
        select(Image.id, func.count(), func.max(Delivery.reason))
        .join(Result, Result.image_id == Image.id)
        .join(Delivery, Delivery.result_id == Result.id)
        .where(Delivery.state == DeliveryState.DEAD, Image.state.in_(DELIVERED_IN - {ImageState.DEAD}))
        .group_by(Image.id)
        .order_by(Image.id)
    )
    return [(image_id, int(count), str(reason)) for image_id, count, reason in rows]


def refusals(session: Session) -> list[tuple[str, int]]:
    """Refused films by reason."""
    rows = session.execute(
        select(Image.reason, func.count())
        .where(Image.state == ImageState.REFUSED)
        .group_by(Image.reason)
        .order_by(Image.reason)
    )
    return [(str(reason), int(count)) for reason, count in rows]


def changed_identities(session: Session) -> Sequence[Image]:
    """Films that came again for another patient or study, and of which nobody has decided."""
    return session.scalars(
        select(Image)
        .where(Image.state == ImageState.REFUSED, Image.reason == Reason.IDENTITY_CHANGED)
        .order_by(Image.id)
    ).all()


def record_rejection(session: Session, peer: Peer, reason: str, detail: str) -> None:
    """Count one more that was turned away; a host that invents AE titles gets no row for each."""
    # An AE title is text that a stranger chose.
    peer = Peer(printable(peer.aet, 16), printable(peer.host))
    if _count_on(session, peer, reason, detail):
        return
    same = (Rejection.calling_host == peer.host, Rejection.reason == reason)
    rows = session.scalar(select(func.count()).select_from(Rejection).where(*same)) or 0
    if rows >= MOST_TITLES_OF_A_HOST:
        peer = Peer(FURTHER_TITLES, peer.host)
        if _count_on(session, peer, reason, detail):
            return
    moment = database.now(session)
    session.add(
        Rejection(
            calling_aet=peer.aet,
            calling_host=peer.host,
            reason=reason,
            detail=detail,
            count=1,
            first_at=moment,
            last_at=moment,
        )
    )


def _count_on(session: Session, peer: Peer, reason: str, detail: str) -> bool:
    """Count one more in the row of this peer and reason; false when it has none yet."""
    key = (Rejection.calling_aet == peer.aet, Rejection.calling_host == peer.host, Rejection.reason == reason)
    values = {"count": Rejection.count + 1, "last_at": database.now(session), "detail": detail}
    counted = session.execute(update(Rejection).where(*key).values(values))
    return counted.rowcount > 0  # type: ignore[attr-defined, no-any-return]


def retry(session: Session, image_id: int, *, actor: str) -> ImageState:
    """Take up again what was given up of a film: its deliveries when it was analysed, else its analysis.

    A film that is refused, or of which other deliveries are under way, stays where it is.

    Raises
    ------
    LookupError
        There is no such image, or nothing of it was given up.
    """
    image = session.scalar(select(Image).where(Image.id == image_id).with_for_update())
    if image is None:
        raise LookupError(f"image {image_id}: no such row")
    state = ImageState(image.state)
    reopened = reopen(session, image.id, actor=actor) if state in DELIVERED_IN else 0
    if state != ImageState.DEAD:
        if not reopened:
            raise LookupError(
                f"image {image_id}: expected state dead or a delivery that was given up, it is {state}"
            )
        return state
    moment = database.now(session)
    after = ImageState.ANALYSED if reopened else ImageState.QUEUED
    image.reason = image.reason_detail = None
    image.attempts = image.hand_backs = 0
    image.due_at = image.waiting_since = moment
    image.rung_at = None
    move(session, image, after, actor=actor, cause="retry by an operator")
    return after
