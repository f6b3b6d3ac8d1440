"""Storage Commitment at our port: requests of others, and answers to our own (PS3.4 annex J)."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from threading import BoundedSemaphore, Event, Lock, Thread
from typing import Any
from weakref import WeakKeyDictionary

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicom_io.association import EXPLICIT_LE, IMPLICIT_LE, Target, associate
from dicom_io.errors import DestinationError, NotDicom
from dicom_io.headers import is_valid_uid
from dicom_io.part10 import PARSE_FAILURES

log = logging.getLogger(__name__)

PUSH_MODEL = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class."""
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Its well-known SOP Instance."""
REQUEST_STORAGE_COMMITMENT = 1
"""Action Type ID (PS3.4 table J.3-1)."""
ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Type ID (PS3.4 table J.3-2)."""
RELEASE_GRACE_S = 1.0
"""A requester that wants the answer in another association has released this one by then."""
MOST_REQUESTS_AT_ONCE = 32
"""Requests that are looked up and answered at once; each waits in a thread of its own."""
ANSWER_TRIES_AFTER_S = (0.0, 10.0, 60.0)
"""When an answer in an association of its own is tried."""


class FailureReason(IntEnum):
    """Why an instance is not committed (PS3.3 section C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    """It is here, and we do not promise to keep it."""
    NO_SUCH_INSTANCE = 0x0112
    """It is not here."""
    CLASS_INSTANCE_CONFLICT = 0x0119
    """It is here as an object of another class."""


class CommitmentStatus(IntEnum):
    """Every status that our N-ACTION or N-EVENT-REPORT may answer (PS3.7 section 10.1.1.1.8, 10.1.4.1.10)."""

    SUCCESS = 0x0000
    """Taken; of a request: the answer follows by N-EVENT-REPORT."""
    PROCESSING_FAILURE = 0x0110
    """Our own trouble: send it again later."""
    INVALID_ARGUMENT = 0x0115
    """The data set is not what this service sends."""
    NO_SUCH_ACTION = 0x0123
    """Another action than "Request Storage Commitment"."""
    NOT_AUTHORISED = 0x0124
    """We commit to nothing: storage commitment is not switched on."""
    RESOURCE_LIMITATION = 0x0213
    """Too many requests wait for their answer: send it again later."""


@dataclass(frozen=True)
class Reference:
    """One instance that is asked for, or answered for."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class CommitmentAnswer:
    """What a peer answers to one request of ours, or we to one of a peer."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]
    """Each with its Failure Reason (0008,1197); 0x0110 where the peer names none."""


def read_answer(information: Dataset) -> CommitmentAnswer:
    """Read the event information of an N-EVENT-REPORT (PS3.4 table J.3-2).

    Raises
    ------
    NotDicom
        There is no valid Transaction UID, or a sequence is damaged.
    """
    try:
        transaction_uid = str(information.get("TransactionUID", ""))
        committed = tuple(_references(information.get("ReferencedSOPSequence") or ()))
        failed = tuple(
            (reference, int(item.get("FailureReason") or FailureReason.PROCESSING_FAILURE))
            for item in information.get("FailedSOPSequence") or ()
            for reference in _references([item])
        )
    except PARSE_FAILURES as error:
        raise NotDicom("storage commitment: expected the information of a report, it is damaged") from error
    if not is_valid_uid(transaction_uid):
        raise NotDicom("storage commitment: expected a Transaction UID of digits and dots")
    return CommitmentAnswer(transaction_uid, committed, failed)


def read_request(information: Dataset) -> tuple[str, tuple[Reference, ...]]:
    """Read Transaction UID and references of an N-ACTION (PS3.4 table J.3-1).

    Raises
    ------
    NotDicom
        There is no valid Transaction UID, or no valid reference.
    """
    answer = read_answer(information)
    if not answer.committed:
        raise NotDicom("storage commitment: expected references to instances, came none")
    return answer.transaction_uid, answer.committed


def encode_answer(answer: CommitmentAnswer) -> Dataset:
    """Return the event information of an N-EVENT-REPORT (PS3.4 table J.3-2)."""
    information = Dataset()
    information.TransactionUID = answer.transaction_uid
    if answer.committed:
        information.ReferencedSOPSequence = [_item(reference) for reference in answer.committed]
    if answer.failed:
        information.FailedSOPSequence = [_item(reference, reason) for reference, reason in answer.failed]
    return information


def _references(items: Iterable[Dataset]) -> list[Reference]:
    return [
        Reference(str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
        for item in items
    ]


def _item(reference: Reference, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item


class CommitmentService:
    """Takes requests for storage commitment, and answers to our own requests.

    Parameters
    ----------
    assess : Callable[[Reference], FailureReason | None] or None
        Says whether we commit to an instance (None) or why not; absent, every request is refused.
    answered : Callable[[CommitmentAnswer], bool]
        Takes the answer to a request of ours; False for trouble of ours, the peer may then send it again.
    address_of : Callable[[str, str], Target | None]
        Where a requester, by AE title and host, listens; None where nobody has told us.
    """

    def __init__(
        self,
        *,
        assess: Callable[[Reference], FailureReason | None] | None,
        answered: Callable[[CommitmentAnswer], bool],
        address_of: Callable[[str, str], Target | None],
    ) -> None:
        self._assess = assess
        self._answered = answered
        self._address_of = address_of
        self._stopped = Event()
        self._room = BoundedSemaphore(MOST_REQUESTS_AT_ONCE)
        self._turns: WeakKeyDictionary[Any, Lock] = WeakKeyDictionary()

    @staticmethod
    def support(entity: AE) -> None:
        """Negotiate the service there: a requester may be SCU, SCP or both (PS3.4 section J.3.3)."""
        syntaxes = [EXPLICIT_LE, IMPLICIT_LE]
        entity.add_supported_context(PUSH_MODEL, syntaxes, scu_role=True, scp_role=True)

    def handlers(self) -> list[tuple[Any, Any]]:
        """Return what pynetdicom is to call."""
        return [(evt.EVT_N_ACTION, self._on_request), (evt.EVT_N_EVENT_REPORT, self._on_answer)]

    def stop(self) -> None:
        """Give up answers that wait for another try; their requesters ask again."""
        self._stopped.set()

    def _on_request(self, event: Any) -> tuple[int, Dataset | None]:
        """Take an N-ACTION; what it asks is looked up, and answered, after its response."""
        if self._assess is None:
            return CommitmentStatus.NOT_AUTHORISED, None
        if event.action_type != REQUEST_STORAGE_COMMITMENT:
            return CommitmentStatus.NO_SUCH_ACTION, None
        try:
            transaction_uid, references = read_request(event.action_information)
        except (NotDicom, *PARSE_FAILURES) as error:
            log.warning("storage commitment: a request makes no sense: %s", type(error).__name__)
            return CommitmentStatus.INVALID_ARGUMENT, None
        if not self._room.acquire(blocking=False):
            log.warning("storage commitment: a request is not taken, %d are open", MOST_REQUESTS_AT_ONCE)
            return CommitmentStatus.RESOURCE_LIMITATION, None
        log.info("storage commitment: asked for %d instances", len(references))
        asking = (event.assoc, self._assess, transaction_uid, references)
        Thread(target=self._answer_and_make_room, args=asking, name="commitment", daemon=True).start()
        return CommitmentStatus.SUCCESS, None

    def _on_answer(self, event: Any) -> tuple[int, Dataset | None]:
        """Take an N-EVENT-REPORT about a request of ours."""
        try:
            answer = read_answer(event.event_information)
        except (NotDicom, *PARSE_FAILURES) as error:
            log.warning("storage commitment: an answer makes no sense: %s", type(error).__name__)
            return CommitmentStatus.INVALID_ARGUMENT, None
        taken = self._answered(answer)
        return (CommitmentStatus.SUCCESS if taken else CommitmentStatus.PROCESSING_FAILURE), None

    def _answer_and_make_room(self, *asking: Any) -> None:
        try:
            self._answer(*asking)
        finally:
            self._room.release()

    def _answer(
        self,
        association: Any,
        assess: Callable[[Reference], FailureReason | None],
        transaction_uid: str,
        references: tuple[Reference, ...],
    ) -> None:
        """Look every instance up and report, here while the requester waits, else where it listens."""
        reasons = [(reference, assess(reference)) for reference in references]
        answer = CommitmentAnswer(
            transaction_uid,
            tuple(reference for reference, reason in reasons if reason is None),
            tuple((reference, reason) for reference, reason in reasons if reason is not None),
        )
        if not _is_released(association) and self._report_here(association, answer):
            return
        aet, host = str(association.requestor.ae_title).strip(), str(association.requestor.address)
        target = self._address_of(aet, host)
        if target is None:
            log.warning("storage commitment: no answer to %s: its [[sender]] has no port", host)
            return
        for wait_s in ANSWER_TRIES_AFTER_S:
            if self._stopped.wait(wait_s) or self._report_anew(target, answer):
                return
        log.error("storage commitment: no answer to %s, it does not take it", target.name)

    def _report_here(self, association: Any, answer: CommitmentAnswer) -> bool:
        """Report in the association of the request; one by one, else one takes another's response."""
        with self._turns.setdefault(association, Lock()):
            return _report(association, answer)

    def _report_anew(self, target: Target, answer: CommitmentAnswer) -> bool:
        """Report in an association of our own, in which we are the SCP."""
        contexts = [(PUSH_MODEL, EXPLICIT_LE), (PUSH_MODEL, IMPLICIT_LE)]
        try:
            with associate(target, contexts, as_scp=[PUSH_MODEL]) as association:
                return _report(association, answer)
        except DestinationError as error:
            log.warning("storage commitment: %s", error)
            return False


def _is_released(association: Any) -> bool:
    """Whether a requester that was answered leaves at once, to be told in another association."""
    until = time.monotonic() + RELEASE_GRACE_S
    while association.is_established and time.monotonic() < until:
        time.sleep(0.05)
    return not association.is_established


def _report(association: Any, answer: CommitmentAnswer) -> bool:
    """Send the N-EVENT-REPORT; whether the requester took it."""
    kind = SOME_FAILED if answer.failed else ALL_COMMITTED
    try:
        status, _ = association.send_n_event_report(
            encode_answer(answer), kind, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
    except (RuntimeError, ValueError):
        # The association ended meanwhile, or was negotiated without the role that reports.
        return False
    return "Status" in status and int(status.Status) == 0
