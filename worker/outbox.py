"""What becomes of a delivery that did not succeed this time: wait, or give up."""

import logging
from datetime import timedelta

from worker import database
from worker.context import Context
from worker.queries import deliveries
from worker.queries.deliveries import DeliveryClaim
from worker.retry import CAP_S, RANDOM, wait_before

log = logging.getLogger(__name__)

A_DAY = timedelta(days=1)
"""How long refusals in a row are borne that are likely to stay."""


def later(
    context: Context,
    claim: DeliveryClaim,
    reason: str,
    *,
    answered: bool,
    refused: bool | None = False,
    cap_s: float = CAP_S,
) -> timedelta:
    """Try again after a while, which is returned; too old, it is given up."""
    wait = wait_before(claim.attempt, RANDOM, cap_s=cap_s)
    if not too_old(context, claim, reason):
        log.warning(
            "delivery %d to %s again in %.0f s", claim.delivery_id, claim.destination, wait.total_seconds()
        )
        again_in(context, claim, wait, reason, answered=answered, refused=refused)
    return wait


def too_old(context: Context, claim: DeliveryClaim, reason: str) -> bool:
    """Give a delivery up that had its days."""
    days = context.settings.delivery_days
    if claim.age <= timedelta(days=days):
        return False
    dead(context, claim, f"no success in {days:g} days; last: {reason}")
    return True


def again_in(
    context: Context,
    claim: DeliveryClaim,
    wait: timedelta,
    reason: str,
    *,
    answered: bool,
    refused: bool | None = False,
) -> None:
    """Try again after that time."""
    with database.write(context.engine) as session:
        deliveries.later(session, claim, wait, reason, answered=answered, refused=refused)


def later_or_dead(context: Context, claim: DeliveryClaim, reason: str) -> None:
    """Try again, until such refusals have come for a day."""
    if claim.refused_for is not None and claim.refused_for > A_DAY:
        dead(context, claim, f"{reason}, for {A_DAY}")
    else:
        later(context, claim, reason, answered=True, refused=True)


def dead(context: Context, claim: DeliveryClaim, reason: str) -> None:
    """Give it up; the film ends with it when nothing else is under way."""
    log.error(
        "delivery %d to %s given up; `cxr-worker status` says why", claim.delivery_id, claim.destination
    )
    with database.write(context.engine) as session:
        deliveries.give_up(session, claim, reason, actor=context.actor)


def release(context: Context, claim: DeliveryClaim) -> None:
    """The destination answers: what waited only for that is due. Apart, so that its locks are its own."""
    with database.write(context.engine) as session:
        deliveries.release_destination(session, claim.destination)
