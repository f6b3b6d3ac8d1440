"""A PACS that answers what a test tells it to: a real pynetdicom SCP on a free loopback port."""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from queue import Queue
from threading import Event, Thread
from typing import Any, Self

from pydicom import Dataset, dcmread
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

EXPLICIT_LE, IMPLICIT_LE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
STORABLE = (ComprehensiveSRStorage, SecondaryCaptureImageStorage, ComputedRadiographyImageStorage)
ABORT = "abort"
"""As an answer: the connection is aborted instead, and the object is lost."""
BASIC_TEXT_AND_PICTURES = (BasicTextSRStorage, SecondaryCaptureImageStorage)
"""What an old PACS stores."""
KEEP_AND_ABORT = "keep and abort"
"""As an answer: the object is kept, and the connection aborted before a word is said."""


def end_server(shutdown: Callable[[], None], port: int) -> None:
    """Shut a server down at once: its loop looks up every half second, or when somebody knocks."""
    ending = Thread(target=shutdown)
    ending.start()
    time.sleep(0.01)
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        pass
    ending.join()


@dataclass
class ScriptedPacs:
    """Answers C-STORE from `answers`, then with Success; answers C-FIND from what it holds."""

    answers: deque[int | str] = field(default_factory=deque)
    syntaxes: tuple[str, ...] = (EXPLICIT_LE, IMPLICIT_LE)
    storable: tuple[str, ...] = STORABLE
    finds_nothing: bool = False
    find_status: int = 0x0000
    comment: str = ""
    abort_when_accepted: bool = False
    breaks_mid_object: bool = False
    """Whether the connection is cut after the third piece of an object."""
    hold: Event | None = None
    """When set to an event, each C-STORE waits for it."""
    queries: bool = True
    """Whether C-FIND is offered."""
    not_committed: dict[str, int] = field(default_factory=dict)
    """SOP Instance UID → Failure Reason, for what Storage Commitment answers against."""
    commits: bool = True
    """Whether Storage Commitment is offered."""
    commits_at_once: bool = True
    """Whether the answer comes on the association of the question; else a test asks for it by `report`."""
    commitment_status: int = 0x0000
    """What N-ACTION is answered."""
    on_question: Callable[[], object] = bool
    """Called before the question for commitment is answered."""
    asked: list[tuple[str, list[str]]] = field(default_factory=list)
    """Transaction UID and SOP Instance UIDs of each question for commitment."""
    responses: Queue[int] = field(default_factory=Queue)
    """What answers on the association of the question were answered; -1 where nothing came."""
    tls: Any = None
    """A server's SSL context, with which the port speaks TLS alone."""
    held: dict[str, Dataset] = field(default_factory=dict)
    stores: list[tuple[str, str]] = field(default_factory=list)
    """SOP Instance UID and transfer syntax of each C-STORE, in order."""
    finds: list[str] = field(default_factory=list)
    """SOP Instance UID of each C-FIND."""
    callers: list[str] = field(default_factory=list)
    pieces: int = 0
    """Of objects that arrived while `breaks_mid_object` was set."""
    port: int = 0

    aet = "PACS"

    @classmethod
    @contextmanager
    def running(cls, **script: Any) -> Iterator[Self]:
        pacs = cls(**script)
        entity = AE(ae_title=pacs.aet)
        for uid in pacs.storable:
            entity.add_supported_context(uid, list(pacs.syntaxes))
        if pacs.queries:
            entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        if pacs.commits:
            entity.add_supported_context(StorageCommitmentPushModel)
        entity.add_supported_context(Verification)
        handlers = [
            (evt.EVT_C_STORE, pacs._store),
            (evt.EVT_C_FIND, pacs._find),
            (evt.EVT_N_ACTION, pacs._commit),
            (evt.EVT_REQUESTED, pacs._requested),
            (evt.EVT_ACCEPTED, pacs._accepted),
            (evt.EVT_PDU_RECV, pacs._piece_received),
        ]
        server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=pacs.tls
        )
        pacs.port = int(server.server_address[1])  # type: ignore[union-attr]
        try:
            yield pacs
        finally:
            end_server(server.shutdown, pacs.port)  # type: ignore[union-attr]

    def _requested(self, event: Any) -> None:
        self.callers.append(str(event.assoc.requestor.primitive.calling_ae_title).strip())

    def _accepted(self, event: Any) -> None:
        if self.abort_when_accepted:
            event.assoc.abort()

    def _piece_received(self, event: Any) -> None:
        if not (self.breaks_mid_object and isinstance(event.pdu, P_DATA_TF)):
            return
        self.pieces += 1
        if self.pieces == 3:
            event.assoc.dul.socket.close()

    def _store(self, event: Any) -> int | Dataset:
        if self.hold is not None:
            self.hold.wait(60)
        dataset = dcmread(BytesIO(event.encoded_dataset()))
        uid = str(dataset.SOPInstanceUID)
        self.stores.append((uid, str(event.context.transfer_syntax)))
        answer = self.answers.popleft() if self.answers else 0x0000
        if answer == KEEP_AND_ABORT or answer in (0x0000, 0xB000, 0xB006, 0xB007):
            self.held[uid] = dataset
        if isinstance(answer, str):
            event.assoc.abort()
            return 0x0000
        status = Dataset()
        status.Status = answer
        if self.comment:
            status.ErrorComment = self.comment
        return status

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        uid = str(event.identifier.get("SOPInstanceUID", ""))
        self.finds.append(uid)
        found = None if self.finds_nothing else self.held.get(uid)
        if found is not None:
            answer = Dataset()
            answer.QueryRetrieveLevel = "IMAGE"
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
                setattr(answer, keyword, found[keyword].value)
            answer.PatientID = found.get("PatientID", "")
            yield 0xFF00, answer
        yield self.find_status, None

    def _commit(self, event: Any) -> tuple[int, None]:
        question = event.action_information
        uids = [str(item.ReferencedSOPInstanceUID) for item in question.ReferencedSOPSequence]
        self.asked.append((str(question.TransactionUID), uids))
        self.on_question()
        if self.commitment_status == 0x0000 and self.commits_at_once:
            Thread(target=self._answer_here, args=(event.assoc, self.information())).start()
        return self.commitment_status, None

    def _answer_here(self, association: Any, information: Dataset) -> None:
        # The answer to the question goes first; then nobody else writes.
        time.sleep(0.05)
        self.responses.put(self._send(association, information))

    def information(self, question: int = -1) -> Dataset:
        """What is answered to one of the questions, by what is held and what is not to be committed."""
        transaction_uid, uids = self.asked[question]
        reasons = {uid: self.not_committed.get(uid, 0 if uid in self.held else 0x0112) for uid in uids}
        information = Dataset()
        information.TransactionUID = transaction_uid
        information.ReferencedSOPSequence = [_reference(uid) for uid, reason in reasons.items() if not reason]
        failed = [_reference(uid, reason) for uid, reason in reasons.items() if reason]
        if failed:
            information.FailedSOPSequence = failed
        return information

    def report(self, port: int, information: Dataset, calling: str = "PACS") -> int:
        """Answer on an association of its own, in the role of the SCP; returns the status that comes back."""
        entity = AE(ae_title=calling)
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = entity.associate("127.0.0.1", port, ae_title="CXRWORKER", ext_neg=[role])
        assert association.is_established
        try:
            return self._send(association, information)
        finally:
            association.release()

    def _send(self, association: Any, information: Dataset) -> int:
        event_type = 2 if "FailedSOPSequence" in information else 1
        status, _ = association.send_n_event_report(
            information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        return int(status.Status) if "Status" in status else -1


def _reference(uid: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    item.ReferencedSOPInstanceUID = uid
    if reason is not None:
        item.FailureReason = reason
    return item
