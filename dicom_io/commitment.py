"""Ask a peer to commit to what it took: Storage Commitment as SCU (PS3.4 annex J).

The answer comes when the peer likes: on the association of the question, or on one of its own to our port
(`dicom_io.commitment_scp`). One question names one object: a part that fails is then a whole answer, and
whoever holds the lease on an object writes of that object alone.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.pdu import P_DATA_TF

from dicom_io.association import EXPLICIT_LE, IMPLICIT_LE, Target, associate
from dicom_io.commitment_scp import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_STORAGE_COMMITMENT,
    CommitmentAnswer,
    CommitmentStatus,
    Reference,
    read_answer,
)
from dicom_io.errors import DestinationError, NotDicom, Unanswered
from dicom_io.part10 import PARSE_FAILURES

SAME_ASSOCIATION_S: Final = 1.0
"""How long the association of the question is kept for the answer: a peer that has it at hand sends it."""


class FollowUp(StrEnum):
    """What follows when a peer does not commit to an object."""

    ASK_AGAIN = "ask_again"
    """Ask again later."""
    ASK_FOR_A_DAY = "ask_for_a_day"
    """Ask again for 24 hours, then give up: it is likely to stay so."""
    SEND_AGAIN = "send_again"
    """The peer does not have the object: send it again."""


FAILURE_TABLE: Final[dict[int, tuple[FollowUp, str]]] = {
    0x0110: (FollowUp.ASK_AGAIN, "processing failure"),
    0x0112: (FollowUp.SEND_AGAIN, "no such object instance"),
    0x0119: (FollowUp.ASK_FOR_A_DAY, "class / instance conflict"),
    0x0122: (FollowUp.ASK_FOR_A_DAY, "referenced SOP class not supported"),
    0x0131: (FollowUp.ASK_AGAIN, "duplicate transaction UID"),
    0x0213: (FollowUp.ASK_AGAIN, "resource limitation"),
}
"""Failure Reason, what follows, and the words (PS3.3 section C.14.1.1)."""


def follow_up_of(failure_reason: int) -> tuple[FollowUp, str]:
    """Look a Failure Reason up; any unknown one is asked again."""
    return FAILURE_TABLE.get(failure_reason, (FollowUp.ASK_AGAIN, "unknown reason"))


@dataclass
class _Answers:
    """What the peer reports on our association; it may also answer older questions there."""

    transaction_uid: str
    came: list[CommitmentAnswer] = field(default_factory=list)
    heard: bool = False
    """Whether the answer to our question came; our response to it may still be on its way."""
    complete: Event = field(default_factory=Event)

    def take(self, event: Any) -> tuple[int, None]:
        try:
            answer = read_answer(event.event_information)
        except (NotDicom, *PARSE_FAILURES):
            return CommitmentStatus.INVALID_ARGUMENT, None
        self.came.append(answer)
        if answer.transaction_uid == self.transaction_uid:
            self.heard = True
        return CommitmentStatus.SUCCESS, None

    def sent(self, event: Any) -> None:
        # Only when our response is out: a release before it breaks the association, and the peer asks again.
        if self.heard and isinstance(event.pdu, P_DATA_TF):
            self.complete.set()


def request(
    target: Target, transaction_uid: str, reference: Reference, *, wait_s: float = SAME_ASSOCIATION_S
) -> tuple[CommitmentAnswer, ...]:
    """Ask the peer to commit to one object, by N-ACTION (PS3.4 section J.3.2).

    Parameters
    ----------
    target : Target
        The peer.
    transaction_uid : str
        A new one for each question; the answer repeats it.
    reference : Reference
        The object.
    wait_s : float, optional
        How long to wait for the answer on this association.

    Returns
    -------
    tuple of CommitmentAnswer
        What the peer reported meanwhile, to this question and to older ones; empty when it answers later.

    Raises
    ------
    Unreachable
        No association came about.
    Unanswered
        The association broke before the question was taken.
    DestinationError
        The peer does not offer Storage Commitment, or does not take the question.
    """
    answers = _Answers(transaction_uid)
    contexts = [(PUSH_MODEL, EXPLICIT_LE), (PUSH_MODEL, IMPLICIT_LE)]
    handlers = [(evt.EVT_N_EVENT_REPORT, answers.take), (evt.EVT_PDU_SENT, answers.sent)]
    with associate(target, contexts, handlers=handlers) as association:
        if not association.accepted_contexts:
            raise DestinationError(
                f"{target.name}: expected Storage Commitment to be accepted, it is not; switch it on there, "
                'or set proof = "find"'
            )
        status, _ = association.send_n_action(
            _question(transaction_uid, reference), REQUEST_STORAGE_COMMITMENT, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
        _require_taken(target, status)
        answers.complete.wait(wait_s)
    return tuple(answers.came)


def _question(transaction_uid: str, reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    question = Dataset()
    question.TransactionUID = transaction_uid
    question.ReferencedSOPSequence = [item]
    return question


def _require_taken(target: Target, response: Dataset) -> None:
    if "Status" not in response:
        raise Unanswered(f"{target.name}: expected an answer to N-ACTION, got none")
    if response.Status != CommitmentStatus.SUCCESS:
        raise DestinationError(
            f"{target.name}: expected the question for commitment to be taken, got 0x{response.Status:04X}"
        )
