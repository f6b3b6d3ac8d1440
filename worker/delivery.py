"""Send one result to one destination, and ask whether it is there."""

import logging
from datetime import timedelta
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from dicom_io import scu
from dicom_io.errors import CxrError, DamagedObject, DestinationError, Unanswered, Unreachable
from dicom_io.scu import Outcome, StoreAnswer, Target
from worker import database
from worker.context import Context
from worker.faults import place_of
from worker.lease import kept
from worker.queries import deliveries
from worker.queries.deliveries import DeliveryClaim
from worker.queries.images import LostLease
from worker.retry import CAP_S, RANDOM, wait_before
from worker.settings import Destination, Settings
from worker.states import DeliveryState

log = logging.getLogger(__name__)

ASK_AGAIN_CAP_S = 60.0
"""A PACS may index what it took a little later; then it is asked soon again."""
ASK_AT_MOST = 10
"""Times that a destination is asked for an object that it took before the object is sent again."""
A_DAY = timedelta(days=1)
NOT_FOUND_YET = "sent, not found by C-FIND yet"


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
    """Turn each way a step can end into a state."""
    destination = context.settings.destination_named(claim.destination)
    try:
        if destination is None:
            # It may only be this worker's configuration that is old.
            _later_or_dead(context, claim, "the destination is not in the configuration", A_DAY)
        else:
            _send_or_ask(context, claim, destination)
    except DamagedObject as error:
        _dead(context, claim, str(error))
    except Unreachable as error:
        wait = _later(context, claim, str(error), answered=not claim.unanswered)
        with database.write(context.engine) as session:
            # One wait for all, this one too: when the destination is back they go out together.
            deliveries.postpone_destination(session, claim.destination, wait, str(error))
    except CxrError as error:
        answered = not claim.unanswered and not isinstance(error, Unanswered)
        _later(context, claim, str(error), answered=answered)
    except (LostLease, SQLAlchemyError):
        raise
    except Exception as error:  # noqa: BLE001 (the edge: whatever a peer answers, the result is kept)
        _later(context, claim, f"{type(error).__name__} at {place_of(error)}", answered=False)


def _send_or_ask(context: Context, claim: DeliveryClaim, destination: Destination) -> None:
    target = _target(destination, context.settings)
    # After a send without an answer: ask first, a second copy would be a duplicate.
    ask_first = claim.state == DeliveryState.SENT or (claim.unanswered and claim.proof == "find")
    if ask_first and _ask(context, claim, target):
        return
    if claim.state == DeliveryState.SENT:
        _not_there(context, claim)
        return
    answer = scu.store(target, context.results.read(claim.sha256))
    # Without the peer's comment, which may quote a patient.
    log.info(
        "delivery %d to %s: 0x%04X %s", claim.delivery_id, claim.destination, answer.status, answer.words
    )
    _take(context, claim, answer, target)


def _ask(context: Context, claim: DeliveryClaim, target: Target) -> bool:
    """Ask by C-FIND; found is confirmed, with the names of what the destination coerced."""
    differing = scu.find(target, claim.identity)
    if differing is None:
        return False
    cause = "found by C-FIND" + (f"; coerced there: {', '.join(differing)}" if differing else "")
    with database.write(context.engine) as session:
        deliveries.confirmed(session, claim, cause, actor=context.actor)
    _release(context, claim)
    return True


def _take(context: Context, claim: DeliveryClaim, answer: StoreAnswer, target: Target) -> None:
    """Turn the answer to a C-STORE into a state, by the table in `dicom_io.scu`."""
    match answer.outcome:
        case Outcome.SENT:
            _sent(context, claim, answer, target)
        case Outcome.DUPLICATE:
            _duplicate(context, claim, answer, target)
        case Outcome.NEVER:
            _dead(context, claim, answer.text)
        case Outcome.AGAIN_FOR_A_DAY:
            _later_or_dead(context, claim, answer.text, A_DAY)
        case Outcome.AGAIN_ALARM:
            log.error("%s does not authorise us: an administrator must let us in", claim.destination)
            _later(context, claim, answer.text, answered=True)
        case _:
            _later(context, claim, answer.text, answered=True)


def _sent(context: Context, claim: DeliveryClaim, answer: StoreAnswer, target: Target) -> None:
    with database.write(context.engine) as session:
        ask = deliveries.sent(session, claim, answer.status, answer.text, actor=context.actor)
    _release(context, claim)
    if ask and not _ask(context, claim, target):
        _later(context, claim, NOT_FOUND_YET, answered=True, cap_s=ASK_AGAIN_CAP_S)


def _duplicate(context: Context, claim: DeliveryClaim, answer: StoreAnswer, target: Target) -> None:
    """The destination says that it has it: ask and compare, where it can be asked."""
    try:
        if not _ask(context, claim, target):
            _later(context, claim, f"{answer.text}, but C-FIND does not find it", answered=True)
    except DestinationError:
        if claim.proof != "none":
            raise
        # Nobody but us makes this UID, and never for other bytes.
        _sent(context, claim, answer, target)


def _not_there(context: Context, claim: DeliveryClaim) -> None:
    """A destination took it and does not list it: ask for a while, then send again."""
    if claim.attempt % ASK_AT_MOST:
        _later(context, claim, NOT_FOUND_YET, answered=True, cap_s=ASK_AGAIN_CAP_S)
        return
    with database.write(context.engine) as session:
        deliveries.send_again(session, claim, "taken, but not found by C-FIND", actor=context.actor)


def _release(context: Context, claim: DeliveryClaim) -> None:
    """The destination answers: what waited only for that is due. Apart, so that its locks are its own."""
    with database.write(context.engine) as session:
        deliveries.release_destination(session, claim.destination)


def _later(
    context: Context, claim: DeliveryClaim, reason: str, *, answered: bool, cap_s: float = CAP_S
) -> timedelta:
    """Try again after a while, which is returned; too old, it is given up."""
    wait = wait_before(claim.attempt, RANDOM, cap_s=cap_s)
    days = context.settings.delivery_days
    if claim.age > timedelta(days=days):
        _dead(context, claim, f"no success in {days:g} days; last: {reason}")
        return wait
    log.warning(
        "delivery %d to %s again in %.0f s", claim.delivery_id, claim.destination, wait.total_seconds()
    )
    with database.write(context.engine) as session:
        deliveries.later(session, claim, wait, reason, answered=answered)
    return wait


def _later_or_dead(context: Context, claim: DeliveryClaim, reason: str, term: timedelta) -> None:
    """Try again until the term is over."""
    if claim.age > term:
        _dead(context, claim, f"{reason}, for {term}")
    else:
        _later(context, claim, reason, answered=True)


def _dead(context: Context, claim: DeliveryClaim, reason: str) -> None:
    log.error(
        "delivery %d to %s given up; `cxr-worker status` says why", claim.delivery_id, claim.destination
    )
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
