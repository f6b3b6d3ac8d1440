"""The states of an image and of a delivery, as tables: what is not listed here cannot happen."""

from enum import StrEnum


class ImageState(StrEnum):
    """Where one image stands."""

    RECEIVED = "received"
    """On disk and committed; the sender has its Success."""
    QUEUED = "queued"
    """A message has been sent at least once."""
    ANALYSING = "analysing"
    """A worker holds a lease on it."""
    ANALYSED = "analysed"
    """Result objects are stored; their deliveries are under way."""
    REPORTED = "reported"
    """Every delivery has its proof. An end."""
    REFUSED = "refused"
    """Must not be judged; the reason says why. An end."""
    DEAD = "dead"
    """Given up; the reason says why, `cxr-worker retry` takes it up again. An end."""


class DeliveryState(StrEnum):
    """Where one result on its way to one destination stands."""

    DUE = "due"
    """To be sent."""
    SENT = "sent"
    """Accepted by the destination; an end where the destination's proof is `none`."""
    CONFIRMED = "confirmed"
    """The destination was asked, and has it. An end."""
    DEAD = "dead"
    """Given up; the reason says why. An end."""


IMAGE_ENDS = frozenset({ImageState.REPORTED, ImageState.REFUSED, ImageState.DEAD})

IMAGE_TRANSITIONS: dict[ImageState, frozenset[ImageState]] = {
    ImageState.RECEIVED: frozenset({ImageState.QUEUED, ImageState.ANALYSING, ImageState.DEAD}),
    ImageState.QUEUED: frozenset({ImageState.ANALYSING, ImageState.DEAD}),
    # Back to queued: the lease ran out, or the work was handed back.
    ImageState.ANALYSING: frozenset(
        {ImageState.ANALYSED, ImageState.REPORTED, ImageState.REFUSED, ImageState.DEAD, ImageState.QUEUED}
    ),
    ImageState.ANALYSED: frozenset({ImageState.REPORTED, ImageState.DEAD}),
    # An operator's reissue: a newer model is there, or a changed identity was found to be right.
    ImageState.REPORTED: frozenset({ImageState.QUEUED}),
    ImageState.REFUSED: frozenset({ImageState.QUEUED}),
    # An operator's retry: of the analysis, or of the deliveries alone.
    ImageState.DEAD: frozenset({ImageState.QUEUED, ImageState.ANALYSED}),
}

DELIVERY_TRANSITIONS: dict[DeliveryState, frozenset[DeliveryState]] = {
    # Due to due: the destination refused this form of the report, the next one is to be sent.
    DeliveryState.DUE: frozenset(
        {DeliveryState.DUE, DeliveryState.SENT, DeliveryState.CONFIRMED, DeliveryState.DEAD}
    ),
    # Back to due: the destination was asked and does not have it.
    DeliveryState.SENT: frozenset({DeliveryState.CONFIRMED, DeliveryState.DUE, DeliveryState.DEAD}),
    DeliveryState.CONFIRMED: frozenset(),
    DeliveryState.DEAD: frozenset({DeliveryState.DUE}),
}

CLAIMABLE = frozenset({ImageState.RECEIVED, ImageState.QUEUED, ImageState.ANALYSING})
"""States of an image that is work, when nobody holds a valid lease on it."""


class ForbiddenTransition(Exception):
    """A change of state that the table does not list: a fault in the program, never of a film."""


def check_image(before: ImageState, after: ImageState) -> None:
    """Raise `ForbiddenTransition` unless the table lists this change."""
    if after not in IMAGE_TRANSITIONS[before]:
        raise ForbiddenTransition(f"image: {before} → {after}")


def check_delivery(before: DeliveryState, after: DeliveryState) -> None:
    """Raise `ForbiddenTransition` unless the table lists this change."""
    if after not in DELIVERY_TRANSITIONS[before]:
        raise ForbiddenTransition(f"delivery: {before} → {after}")
