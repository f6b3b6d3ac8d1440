"""Send one result to one destination, and ask whether it is there."""

import logging
from datetime import timedelta
from functools import partial

from dicom_io import scu
from dicom_io.errors import DestinationError, StorageError
from dicom_io.scu import Outcome, StoreAnswer, Target, Unanswered
from worker import database
from worker.context import Context
from worker.lease import kept
from worker.queries import deliveries
from worker.queries.deliveries import DeliveryClaim
from worker.queries.images import LostLease
from worker.retry import RANDOM, wait_before
from worker.settings import Destination, Settings
from worker.states import DeliveryState

log = logging.getLogger(__name__)

ASK_AGAIN_CAP_S = 60.0
"""A PACS may index what it took a little later; then it is asked soon again."""
ASK_AT_MOST = 10
"""Times that a destination is asked for an object that it took before the object is sent again."""
A_DAY = timedelta(days=1)


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
    settings = context.settings
    destination = settings.destination_named(claim.destination)
    if destination is None:
        _dead(context, claim, "the destination is no longer in the configuration")
        return
    try:
        _send_or_ask(context, claim, destination)
    except StorageError as error:
        _dead(context, claim, f"the result object cannot be read: {error}")
    except DestinationError as error:
        wait = _later(
            context,
            claim,
            str(error),
            answered=claim.unanswered is False and not isinstance(error, Unanswered),
        )
        with database.write(context.engine) as session:
            # One wait for all, this one too: when the destination is back they go out together.
            deliveries.postpone_destination(session, claim.destination, wait)


def _send_or_ask(context: Context, claim: DeliveryClaim, destination: Destination) -> None:
    target = _target(destination, context.settings)
    # After a send without an answer: ask first, a second copy would be a duplicate.
    ask_first = claim.state == DeliveryState.SENT or (claim.unanswered and destination.proof == "find")
    if ask_first and scu.find(target, claim.identity):
        _confirmed(context, claim, "found by C-FIND")
        return
    if claim.state == DeliveryState.SENT:
        _not_there(context, claim)
        return
    answer = scu.store(target, context.results.read(claim.sha256))
    log.info("delivery %d to %s: 0x%04X", claim.delivery_id, claim.destination, answer.status)
    _take(context, claim, answer, target)


def _take(context: Context, claim: DeliveryClaim, answer: StoreAnswer, target: Target) -> None:
    """Turn the answer to a C-STORE into a state, by the table in `dicom_io.scu`."""
    words = f"0x{answer.status:04X} {answer.text}"
    match answer.outcome:
        case Outcome.SENT:
            _sent(context, claim, answer, target)
        case Outcome.DUPLICATE:
            if scu.find(target, claim.identity):
                _confirmed(context, claim, "was there already; found by C-FIND")
            else:
                _later(context, claim, f"{words}, but C-FIND does not find it", answered=True)
        case Outcome.NEVER:
            _dead(context, claim, words)
        case Outcome.AGAIN_FOR_A_DAY if claim.age > A_DAY:
            _dead(context, claim, f"{words} for 24 hours")
        case Outcome.AGAIN_ALARM:
            log.error("%s answers %s: an administrator must let us in", claim.destination, words)
            _later(context, claim, words, answered=True)
        case _:
            _later(context, claim, words, answered=True)


def _sent(context: Context, claim: DeliveryClaim, answer: StoreAnswer, target: Target) -> None:
    with database.write(context.engine) as session:
        ask = deliveries.sent(session, claim, answer.status, answer.text, actor=context.actor)
        deliveries.release_destination(session, claim.destination)
    if not ask:
        return
    if scu.find(target, claim.identity):
        _confirmed(context, claim, "found by C-FIND")
    else:
        _later(context, claim, "sent, not found by C-FIND yet", answered=True, cap_s=ASK_AGAIN_CAP_S)


def _not_there(context: Context, claim: DeliveryClaim) -> None:
    """A destination took it and does not list it: ask for a while, then send again."""
    if claim.attempt % ASK_AT_MOST:
        _later(context, claim, "sent, not found by C-FIND yet", answered=True, cap_s=ASK_AGAIN_CAP_S)
        return
    with database.write(context.engine) as session:
        deliveries.send_again(session, claim, "taken, but not found by C-FIND", actor=context.actor)


def _confirmed(context: Context, claim: DeliveryClaim, cause: str) -> None:
    with database.write(context.engine) as session:
        deliveries.confirmed(session, claim, cause, actor=context.actor)
        deliveries.release_destination(session, claim.destination)


def _later(
    context: Context, claim: DeliveryClaim, reason: str, *, answered: bool, cap_s: float = 1800.0
) -> timedelta:
    wait = wait_before(claim.attempt, RANDOM, cap_s=cap_s)
    if claim.age > timedelta(days=context.settings.delivery_days):
        _dead(context, claim, f"no success in {context.settings.delivery_days:g} days; last: {reason}")
        return wait
    log.warning("delivery %d again in %.0f s: %s", claim.delivery_id, wait.total_seconds(), reason)
    with database.write(context.engine) as session:
        deliveries.later(session, claim, wait, reason, answered=answered)
    return wait


def _dead(context: Context, claim: DeliveryClaim, reason: str) -> None:
    log.error("delivery %d to %s given up: %s", claim.delivery_id, claim.destination, reason)
    with database.write(context.engine) as session:
        deliveries.give_up(session, claim, reason, actor=context.actor)


def _target(destination: Destination, settings: Settings) -> Target:
    return Target(
        aet=destination.aet,
        host=destination.host,
        port=destination.port,
        calling_aet=destination.calling_aet or settings.listener.aet,
        timeout_s=settings.network_timeout_s,
    )
