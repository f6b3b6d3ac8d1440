"""Receive films: a Verification and Storage SCP that parses nothing but the command set (PS3.4 annex B).

Each data set is written straight into the spool's incoming folder and handed on as a path.
What becomes of it, and so the status, is the caller's decision.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from ssl import SSLContext
from threading import Thread
from typing import Any

from pynetdicom import AE, evt

from dicom_io.commitment_scp import CommitmentService
from dicom_io.headers import is_valid_uid
from dicom_io.intake import CANNOT_UNDERSTAND, INVALID_INSTANCE, IncomingObject
from dicom_io.negotiation import prefer_the_senders_order, supported_contexts
from dicom_io.server import ListenerServer

log = logging.getLogger(__name__)


class StoreStatus(IntEnum):
    """Every status that our C-STORE may answer."""

    SUCCESS = 0x0000
    """The film is synced on disk and its row is committed (PS3.4 section B.2.3)."""
    INVALID_INSTANCE = INVALID_INSTANCE
    """The SOP Instance UID is missing or not digits and dots, or the class is not the negotiated one
    (PS3.7 annex C)."""
    OUT_OF_RESOURCES = 0xA700
    """Our own trouble, disk or database: send it again later (PS3.4 section B.2.3)."""
    CANNOT_UNDERSTAND = CANNOT_UNDERSTAND
    """There is no data set, or the command set lacks a field that it must have (PS3.4 section B.2.3)."""


@dataclass(frozen=True)
class Peer:
    """Who called."""

    aet: str
    host: str


@dataclass(frozen=True)
class ReceivedInstance:
    """One data set in the incoming folder; nothing of it has been parsed but the command set."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    peer: Peer
    path: Path


@dataclass(frozen=True)
class ListenerAddress:
    """Where the listener listens, and for what."""

    aet: str
    host: str
    port: int
    max_associations: int = 20
    max_pdu_bytes: int = 128 * 1024
    """Largest P-DATA-TF PDU that peers are asked to send (PS3.8 annex D.1)."""
    max_object_bytes: int = 2**30
    """Largest data set; an association whose data set goes on beyond it is aborted."""
    any_storage: bool = False
    """Whether every Storage SOP Class of the standard is negotiated."""
    tls: SSLContext | None = None
    """How the port speaks TLS; None for plain DICOM."""


class StorageListener:
    """The listener; `start` returns at once and serves in threads of its own.

    Parameters
    ----------
    address
        AE title, host, port, and what is accepted there.
    incoming
        Folder into which data sets are received; on the file system of the spool.
    admit
        Says whether that peer may associate; else the association is rejected
        (result 1 permanent, source 1, reason 3 "calling AE title not recognised", PS3.8 table 9-21).
    store
        Takes over the received file and answers the status; it owns the file from then on.
    refused
        Told of each peer or instance that was turned away: the peer and the reason, for the record.
    commitment
        Takes requests for storage commitment and answers to our own; absent, it is not negotiated.
    """

    def __init__(
        self,
        address: ListenerAddress,
        incoming: Path,
        *,
        admit: Callable[[Peer], bool],
        store: Callable[[ReceivedInstance], StoreStatus],
        refused: Callable[[Peer, str, str], None],
        commitment: CommitmentService | None = None,
    ) -> None:
        self._address = address
        self._incoming = incoming
        self._admit = admit
        self._store = store
        self._refused = refused
        self._commitment = commitment
        self._server: ListenerServer | None = None

    def start(self) -> None:
        """Open the port; `OSError` when it is taken."""
        entity = AE(ae_title=self._address.aet)
        entity.maximum_associations = self._address.max_associations
        entity.maximum_pdu_size = self._address.max_pdu_bytes
        entity.supported_contexts = supported_contexts(any_storage=self._address.any_storage)
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_C_STORE, self._on_store),
        ]
        if self._commitment is not None:
            # By itself: a list of contexts loses its roles on the way into the AE.
            self._commitment.support(entity)
            handlers += self._commitment.handlers()
        server: Any = entity.make_server(
            (self._address.host, self._address.port),
            evt_handlers=handlers,
            server_class=ListenerServer,
            incoming=self._incoming,
            max_object_bytes=self._address.max_object_bytes,
            tls=self._address.tls,
            refused=lambda aet, host, reason, words: self._refused(Peer(aet, host), reason, words),
        )
        self._server = server
        Thread(target=server.serve_forever, name="listener", daemon=True).start()
        secured = "with TLS" if self._address.tls is not None else "without TLS"
        at = (self._address.aet, self._address.host, self._address.port)
        log.info("listening as %s on %s:%d, %s", *at, secured)

    def stop(self) -> None:
        """Close the port; senders send unfinished films again."""
        if self._commitment is not None:
            self._commitment.stop()
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _on_requested(self, event: Any) -> None:
        """Reject an association from a peer that nobody let in."""
        peer = _peer(event)
        if self._admit(peer):
            prefer_the_senders_order(event.assoc)
            return
        log.warning("association rejected: calling AE title not recognised, host %s", peer.host)
        # Recorded first: who is told of the rejection finds it in `status`.
        try:
            self._refused(peer, "unknown_sender", "calling AE title or its host is not in [[sender]]")
        finally:
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)
            event.assoc.is_rejected = True
            event.assoc.kill()

    def _on_rejected(self, event: Any) -> None:
        """Record what pynetdicom rejects by itself: more associations than are served at once."""
        peer = _peer(event)
        log.warning("association rejected: local limit exceeded, host %s", peer.host)
        limit = self._address.max_associations
        self._refused(peer, "busy", f"more than {limit} associations at once, [listener] max_associations")

    def _on_store(self, event: Any) -> int:
        """Check the command set, then hand the file over.

        Returns
        -------
        int
            0x0000 (stored), 0x0117 (invalid SOP Instance UID or class), 0xA700 (our own trouble),
            0xC000 (no data set).
        """
        request, peer, incoming = event.request, _peer(event), event.request.DataSet
        uid, sop_class = str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID)
        problem = _command_problem(uid, sop_class, str(event.context.abstract_syntax))
        if problem is not None:
            incoming.discard()
            reason, detail = problem
            log.warning("film not taken: %s: %s", reason, detail)
            self._refused(peer, reason, detail)
            return StoreStatus.INVALID_INSTANCE
        path = incoming.finish() if isinstance(incoming, IncomingObject) else None
        if path is None:
            return StoreStatus.OUT_OF_RESOURCES if incoming.trouble else StoreStatus.CANNOT_UNDERSTAND
        instance = ReceivedInstance(
            sop_class_uid=sop_class,
            sop_instance_uid=uid,
            transfer_syntax_uid=str(event.context.transfer_syntax),
            peer=peer,
            path=path,
        )
        try:
            return int(self._store(instance))
        finally:
            # Its owner has moved it by now; what is still here was not taken.
            path.unlink(missing_ok=True)


def _peer(event: Any) -> Peer:
    requestor = event.assoc.requestor
    aet = requestor.ae_title or requestor.primitive.calling_ae_title
    return Peer(aet=str(aet).strip(), host=str(requestor.address))


def _command_problem(uid: str, sop_class: str, negotiated: str) -> tuple[str, str] | None:
    """What is wrong with the command set, as reason and words, or None."""
    if not is_valid_uid(uid):
        return "invalid_uid", f"SOP Instance UID of {len(uid)} characters: expected 1 to 64 digits and dots"
    if sop_class != negotiated:
        return "sop_class_mismatch", "Affected SOP Class UID is not the one negotiated for this context"
    return None
