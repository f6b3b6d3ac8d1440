"""Receive films: a Verification and Storage SCP that parses nothing but the command set (PS3.4 annex B).

Each data set is written in chunks straight into the spool's incoming folder and handed on as a path.
What becomes of it, and so the status, is the caller's decision.
"""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_io.headers import is_valid_uid

log = logging.getLogger(__name__)


class StoreStatus(IntEnum):
    """Every status that our C-STORE may answer."""

    SUCCESS = 0x0000
    """The film is synced on disk and its row is committed (PS3.4 section B.2.3)."""
    INVALID_INSTANCE = 0x0117
    """The SOP Instance UID is not digits and dots, or the class is not the negotiated one (PS3.7 annex C)."""
    OUT_OF_RESOURCES = 0xA700
    """Our own trouble, disk or database: send it again later (PS3.4 section B.2.3)."""


ACCEPTED_SOP_CLASSES: dict[str, str] = {
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography Image Storage",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray Image Storage - For Presentation",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "Digital X-Ray Image Storage - For Processing",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.1": "Multi-frame Single Bit Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.3": "Multi-frame Grayscale Word Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.11.1": "Grayscale Softcopy Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.11.2": "Color Softcopy Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.88.11": "Basic Text SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.59": "Key Object Selection Document Storage",
    "1.2.840.10008.5.1.4.1.1.88.67": "X-Ray Radiation Dose SR Storage",
    "1.2.840.10008.5.1.4.1.1.104.1": "Encapsulated PDF Storage",
}
"""What the study of a chest radiograph may hold; anything else is not negotiated."""

ACCEPTED_TRANSFER_SYNTAXES: dict[str, str] = {
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K Lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
}
"""Negotiated in the sender's order of preference, stored as sent (PS3.5 section 10)."""


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
    """Where the listener listens, and for how many at once."""

    aet: str
    host: str
    port: int
    max_associations: int = 20


class StorageListener:
    """The listener; `start` returns at once and serves in threads of its own.

    Parameters
    ----------
    address
        AE title, host, port, and the number of associations served at once.
    incoming
        Folder into which data sets are received; on the file system of the spool.
    admit
        Says whether that peer may associate; else the association is rejected
        (result 1 permanent, source 1, reason 3 "calling AE title not recognised", PS3.8 table 9-21).
    store
        Takes over the received file and answers the status; it owns the file from then on.
    refused
        Told of each instance that was not taken: the peer and the reason, for the record.
    """

    def __init__(
        self,
        address: ListenerAddress,
        incoming: Path,
        *,
        admit: Callable[[Peer], bool],
        store: Callable[[ReceivedInstance], StoreStatus],
        refused: Callable[[Peer, str, str], None],
    ) -> None:
        self._address = address
        self._incoming = incoming
        self._admit = admit
        self._store = store
        self._refused = refused
        self._server: Any = None

    def start(self) -> None:
        """Open the port; `OSError` when it is taken."""
        _config.STORE_RECV_CHUNKED_DATASET = True
        # pynetdicom makes its temporary files where `tempfile` says; a rename needs one file system.
        tempfile.tempdir = str(self._incoming)
        entity = AE(ae_title=self._address.aet)
        entity.maximum_associations = self._address.max_associations
        entity.supported_contexts = [
            build_context(uid, list(ACCEPTED_TRANSFER_SYNTAXES)) for uid in ACCEPTED_SOP_CLASSES
        ]
        entity.add_supported_context(Verification)
        self._server = entity.start_server(
            (self._address.host, self._address.port),
            block=False,
            evt_handlers=[
                (evt.EVT_REQUESTED, self._on_requested),
                (evt.EVT_C_STORE, self._on_store),
                (evt.EVT_CONN_CLOSE, _clear_half_received),
            ],
        )
        log.info("listening as %s on %s:%d", self._address.aet, self._address.host, self._address.port)

    def stop(self) -> None:
        """Close the port and abort what is still associated; senders send unfinished films again."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _on_requested(self, event: Any) -> None:
        """Reject an association from a peer that nobody let in."""
        peer = _peer(event)
        if self._admit(peer):
            return
        log.warning("association rejected: calling AE title not recognised, host %s", peer.host)
        # Recorded first: who is told of the rejection finds it in `status`.
        try:
            self._refused(peer, "unknown_sender", "calling AE title or its host is not in [[sender]]")
        finally:
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)
            event.assoc.is_rejected = True
            event.assoc.kill()

    def _on_store(self, event: Any) -> int:
        """Check the command set, then hand the file over.

        Returns
        -------
        int
            0x0000 (stored), 0x0117 (invalid SOP Instance UID or class), 0xA700 (our own trouble).
        """
        request, peer = event.request, _peer(event)
        uid, sop_class = str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID)
        problem = _command_problem(uid, sop_class, str(event.context.abstract_syntax))
        if problem is not None:
            reason, detail = problem
            log.warning("film not taken: %s: %s", reason, detail)
            self._refused(peer, reason, detail)
            return StoreStatus.INVALID_INSTANCE
        # Flushed by the close, so that the new owner of the path sees every byte.
        request._dataset_file.close()
        instance = ReceivedInstance(
            sop_class_uid=sop_class,
            sop_instance_uid=uid,
            transfer_syntax_uid=str(event.context.transfer_syntax),
            peer=peer,
            path=Path(event.dataset_path),
        )
        return int(self._store(instance))


def _clear_half_received(event: Any) -> None:
    """Close and remove the file of an object that was cut off; pynetdicom keeps both."""
    file = getattr(event.assoc.dimse.message, "_data_set_file", None)
    if file is not None:
        file.close()
        Path(file.name).unlink(missing_ok=True)


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
