"""Judge a film anew that had its end, because an operator says so."""

import re
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.acceptance import Reason
from worker import database
from worker.queries.images import move
from worker.states import ImageState
from worker.tables import Analysis, Image


class NothingToReissue(LookupError):
    """There is no such film, or no reason to judge it anew; the message says what was expected."""


@dataclass(frozen=True)
class ModelKey:
    """One version of a model, as the analyses name it."""

    name: str
    version: str
    weights_sha256: str


def reissue(session: Session, image_id: int, model: ModelKey, *, actor: str) -> str:
    """Send a film back to the queue; returns why, in words.

    A film whose identity changed gets its content hash into the UIDs of its results: those of the earlier
    identity, which have the same source UID, keep theirs. A reported film is judged by the newer model, whose
    version makes the UIDs others; its older analysis and results stay.

    Raises
    ------
    NothingToReissue
        The film is in another state, or the configured model is not newer than the one that judged it.
    """
    image = session.scalar(select(Image).where(Image.id == image_id).with_for_update())
    if image is None:
        raise NothingToReissue(f"image {image_id}: no such row")
    if image.state == ImageState.REFUSED and image.reason == Reason.IDENTITY_CHANGED:
        image.reissue_hash = image.content_sha256
        cause = "reissue by an operator: the changed identity stands"
    elif image.state == ImageState.REPORTED:
        _require_newer(session, image_id, model)
        cause = f"reissue by an operator: by {model.name} {model.version}"
    else:
        reason = f" ({image.reason})" if image.reason else ""
        raise NothingToReissue(
            f"image {image_id}: expected state reported, or refused (identity_changed), it is "
            f"{image.state}{reason}; `cxr-worker retry` takes up what is dead"
        )
    image.reason = image.reason_detail = None
    image.attempts = image.hand_backs = 0
    image.due_at = image.waiting_since = database.now(session)
    image.rung_at = None
    move(session, image, ImageState.QUEUED, actor=actor, cause=cause)
    return cause


def was_judged_by(session: Session, image_id: int, model: ModelKey) -> bool:
    """Whether that very model has judged that film."""
    analysis = select(Analysis.id).where(
        Analysis.image_id == image_id,
        Analysis.model_name == model.name,
        Analysis.model_version == model.version,
        Analysis.weights_sha256 == model.weights_sha256,
    )
    return session.scalar(analysis) is not None


def _require_newer(session: Session, image_id: int, model: ModelKey) -> None:
    named = f"{model.name} {model.version}"
    if was_judged_by(session, image_id, model):
        raise NothingToReissue(f"image {image_id}: nothing to do, the configured model {named} has judged it")
    versions = session.scalars(
        select(Analysis.model_version).where(Analysis.image_id == image_id, Analysis.model_name == model.name)
    )
    newest = max(versions, key=_numbers, default=None)
    if newest is not None and _numbers(newest) > _numbers(model.version):
        raise NothingToReissue(
            f"image {image_id}: expected a newer model than {model.name} {newest}, which has judged it; the "
            f"configured one is {named}"
        )


def _numbers(version: str) -> list[int]:
    """`0.10.2` after `0.9`: the numbers in a version, in order."""
    return [int(number) for number in re.findall(r"\d+", version)]
