"""The inbox: films are recorded, claimed under a lease, and brought to an end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from dicom_io.acceptance import Reason
from dicom_io.headers import Header
from dicom_io.scp import ReceivedInstance
from dicom_io.spool import StoredObject
from worker import database
from worker.states import CLAIMABLE, IMAGE_ENDS, ImageState, check_image
from worker.tables import Event, Image, Result


@dataclass(frozen=True)
class Spooled:
    """A claimed film, and what else is known under its SOP Instance UID."""

    sop_instance_uid: str
    name: str
    """Its name in the spool."""
    earlier: tuple[tuple[int, str], ...]
    """Id and spool name of the films that came before it under this UID, the first one first."""
    is_ours: bool
    """We gave this UID to a result of ours."""
    reissue: bool
    """An operator had it judged anew, whatever came before it."""


class LostLease(Exception):
    """The lease ran out and another worker may hold the film: what was done is not written."""


@dataclass(frozen=True)
class Claim:
    """The right to work on one image, until the lease runs out."""

    image_id: int
    token: str
    attempt: int
    """Analyses begun that did not end by a hand-back, this one included."""
    hand_backs: int = 0
    """Times that our own trouble sent it back to the queue."""
    age: timedelta = timedelta(0)
    """Since the film was received, or was last taken up by an operator."""


def move(session: Session, image: Image, after: ImageState, *, actor: str, cause: str) -> None:
    """Change the state by the table, and record who did it and why."""
    before = ImageState(image.state)
    check_image(before, after)
    moment = database.now(session)
    image.state = after
    image.ended_at = moment if after in IMAGE_ENDS else None
    session.add(Event(at=moment, image_id=image.id, actor=actor, before=before, after=after, cause=cause))


def record(session: Session, instance: ReceivedInstance, stored: StoredObject, *, actor: str) -> Image | None:
    """Write the row of a received film; None when these very bytes are known under this UID."""
    known = select(Image.id).where(
        Image.sop_instance_uid == instance.sop_instance_uid, Image.content_sha256 == stored.content_sha256
    )
    if session.scalar(known) is not None:
        return None
    moment = database.now(session)
    image = Image(
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        transfer_syntax_uid=instance.transfer_syntax_uid,
        content_sha256=stored.content_sha256,
        spool_name=stored.name,
        size_bytes=stored.size_bytes,
        calling_aet=instance.peer.aet,
        calling_host=instance.peer.host,
        received_at=moment,
        waiting_since=moment,
        due_at=moment,
        state=ImageState.RECEIVED,
    )
    session.add(image)
    session.flush()
    after, cause = ImageState.RECEIVED, f"C-STORE from {instance.peer.aet}"
    session.add(Event(at=moment, image_id=image.id, actor=actor, before=None, after=after, cause=cause))
    return image


def claim(session: Session, image_id: int, *, lease_s: float, actor: str) -> Claim | None:
    """Take the lease on an image that is work; None when it is done, not due, or somebody else's."""
    moment = database.now(session)
    image = session.scalar(
        select(Image)
        .where(Image.id == image_id, Image.state.in_(CLAIMABLE), Image.due_at <= moment)
        .where(or_(Image.lease_until.is_(None), Image.lease_until < moment))
        .with_for_update(skip_locked=True)
    )
    if image is None:
        return None
    if image.state == ImageState.ANALYSING:
        move(session, image, ImageState.QUEUED, actor=actor, cause="lease ran out")
    image.attempts += 1
    image.lease_token = uuid4().hex
    image.claimed_at = image.heartbeat_at = moment
    image.lease_until = moment + timedelta(seconds=lease_s)
    move(session, image, ImageState.ANALYSING, actor=actor, cause=f"attempt {image.attempts}")
    return Claim(image.id, image.lease_token, image.attempts, image.hand_backs, moment - image.waiting_since)


def renew(session: Session, claim: Claim, *, lease_s: float) -> bool:
    """Prolong the lease; False when it is somebody else's by now."""
    moment = database.now(session)
    renewed = session.execute(
        update(Image)
        .where(Image.id == claim.image_id, Image.lease_token == claim.token)
        .values(heartbeat_at=moment, lease_until=moment + timedelta(seconds=lease_s))
        .returning(Image.id)
    )
    return renewed.scalar() is not None


def held(session: Session, claim: Claim) -> Image:
    """Return the claimed image, locked, for writing its outcome.

    Raises
    ------
    LostLease
        The token in the row is another one.
    """
    image = session.scalar(
        select(Image).where(Image.id == claim.image_id, Image.lease_token == claim.token).with_for_update()
    )
    if image is None:
        raise LostLease(f"image {claim.image_id}: the lease went to another worker")
    return image


def let_go(image: Image) -> None:
    """Clear the lease."""
    image.lease_token = image.lease_until = None


def refuse(
    session: Session, claim: Claim, reason: str, detail: str, *, actor: str, header_name: str | None = None
) -> None:
    """End: must not be judged; with a header's name, that alone is kept of it."""
    image = held(session, claim)
    image.reason, image.reason_detail, image.header_name = reason, detail, header_name
    move(session, image, ImageState.REFUSED, actor=actor, cause=f"{reason}: {detail}")
    let_go(image)


def give_up(session: Session, claim: Claim, reason: str, detail: str, *, actor: str) -> None:
    """End: no further attempt makes sense."""
    image = held(session, claim)
    image.reason, image.reason_detail = reason, detail
    move(session, image, ImageState.DEAD, actor=actor, cause=f"{reason}: {detail}")
    let_go(image)


def hand_back(
    session: Session, claim: Claim, wait: timedelta, cause: str, *, actor: str, our_trouble: bool
) -> None:
    """Give the film back to the queue, to be tried again after a while.

    Trouble of ours, a full disk or a missing model, is no attempt: films do not die of it in an hour.
    """
    image = held(session, claim)
    image.due_at = database.now(session) + wait
    image.rung_at = None
    if our_trouble:
        image.attempts -= 1
        image.hand_backs += 1
    move(session, image, ImageState.QUEUED, actor=actor, cause=cause)
    let_go(image)


def describe(session: Session, claim: Claim, header: Header) -> None:
    """Keep what the header says, whatever becomes of the film."""
    image = held(session, claim)
    image.study_instance_uid = header.study_instance_uid
    image.series_instance_uid = header.series_instance_uid
    image.patient_id = header.patient_id
    image.patient_name = header.patient_name
    image.patient_sex = header.patient_sex
    image.patient_age_years = header.patient_age_years
    image.accession_number = header.accession_number
    image.study_date = header.study_date
    image.study_description = header.study_description
    image.modality = header.modality
    image.body_part_examined = header.body_part_examined
    image.view_position = header.view_position
    image.burned_in_annotation = header.burned_in_annotation
    image.manufacturer = header.manufacturer


def spooled(session: Session, claim: Claim) -> Spooled:
    """What the claimed film is, and what came before it."""
    image = held(session, claim)
    # A repeat is equal to one before it, and of what is kept by its header alone no pixels are left.
    earlier = session.execute(
        select(Image.id, Image.spool_name)
        .where(Image.sop_instance_uid == image.sop_instance_uid, Image.id < image.id)
        .where(Image.header_name.is_(None), Image.reason.is_distinct_from(Reason.REPEAT))
        .order_by(Image.id)
    )
    return Spooled(
        sop_instance_uid=image.sop_instance_uid,
        name=image.spool_name,
        earlier=tuple((image_id, name) for image_id, name in earlier),
        is_ours=is_ours(session, image.sop_instance_uid),
        reissue=image.reissue_hash is not None,
    )


def is_ours(session: Session, sop_instance_uid: str) -> bool:
    """Whether we gave this UID to a result of ours."""
    ours = select(Result.id).where(Result.sop_instance_uid == sop_instance_uid).limit(1)
    return session.scalar(ours) is not None


def to_ring(session: Session, *, ring_again_s: float, limit: int) -> list[int]:
    """Ids of images that are work and of which Celery does not know, as far as we know."""
    moment = database.now(session)
    return list(
        session.scalars(
            select(Image.id)
            .where(Image.state.in_(CLAIMABLE), Image.due_at <= moment)
            .where(or_(Image.lease_until.is_(None), Image.lease_until < moment))
            .where(or_(Image.rung_at.is_(None), Image.rung_at < moment - timedelta(seconds=ring_again_s)))
            # Longest not rung first: else a long queue's head is rung for ever, and its tail never.
            .order_by(func.coalesce(Image.rung_at, Image.due_at), Image.id)
            .limit(limit)
        )
    )


def mark_rung(session: Session, image_ids: list[int], *, actor: str) -> None:
    """Note that messages went out; the first one makes a film `queued`."""
    moment: datetime = database.now(session)
    # In one order, and past what a worker holds just now: it needs no note, and nobody waits for nobody.
    rung = select(Image).where(Image.id.in_(image_ids)).order_by(Image.id).with_for_update(skip_locked=True)
    for image in session.scalars(rung):
        image.rung_at = moment
        if image.state == ImageState.RECEIVED:
            move(session, image, ImageState.QUEUED, actor=actor, cause="rung")


def last_cause(session: Session, image_id: int) -> str:
    """Why the image last went back to the queue."""
    cause = session.scalar(
        select(Event.cause)
        .where(Event.image_id == image_id, Event.after == ImageState.QUEUED)
        .order_by(Event.id.desc())
        .limit(1)
    )
    return cause or "none is recorded"


def spool_names(session: Session) -> set[str]:
    """Names of all films in the spool whose row needs them."""
    return set(session.scalars(select(Image.spool_name).where(Image.header_name.is_(None))))


def has_film(session: Session, spool_name: str) -> bool:
    """Whether a row needs that file of the spool."""
    needed = select(Image.id).where(Image.spool_name == spool_name, Image.header_name.is_(None))
    return session.scalar(needed.limit(1)) is not None


def of_uid(session: Session, sop_instance_uid: str) -> Sequence[Image]:
    """All that came under that SOP Instance UID, the first one first."""
    return session.scalars(
        select(Image).where(Image.sop_instance_uid == sop_instance_uid).order_by(Image.id)
    ).all()
