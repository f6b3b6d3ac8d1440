"""Receive a C-STORE's data set into a file, and turn trouble with it into an answer (PS3.7 section 9.1.1)."""

import logging
from collections.abc import Callable
from contextlib import suppress
from io import BufferedWriter, BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import create_file_meta

from dicom_io.headers import is_valid_uid
from dicom_io.part10 import PARSE_FAILURES

log = logging.getLogger(__name__)

MAX_OTHER_BYTES = 16 * 2**20
"""Largest data set of a message that is no C-STORE: it is held in memory."""
NAMES = ("AffectedSOPClassUID", "AffectedSOPInstanceUID")
"""What a C-STORE says of the object that follows (PS3.7 section 9.1.1.1)."""
LONGEST_UID = 64
"""Characters of a UID at most (PS3.5 section 9.1)."""
INVALID_INSTANCE, CANNOT_UNDERSTAND = 0x0117, 0xC000
"""Answers to a request that pynetdicom would not answer (PS3.7 section 9.1.1.1.9)."""


class TooLarge(ValueError):
    """A data set beyond its bound; it may have no end."""


class IncomingObject(BytesIO):
    """Takes a data set piece by piece, where pynetdicom collects it; that of a C-STORE goes into a file.

    Parameters
    ----------
    message : DIMSEMessage
        The message that the data set belongs to; its command set is complete before the first piece comes.
    association : pynetdicom.association.Association
        The one that brings the message; its accepted contexts tell the transfer syntax.
    folder : Path
        Where the file is made; its name is random.
    max_bytes : int
        Largest data set of a C-STORE.
    """

    def __init__(self, message: DIMSEMessage, association: Any, folder: Path, max_bytes: int) -> None:
        super().__init__()
        self._message, self._association, self._folder = message, association, folder
        self._max_bytes = max_bytes
        self._file: BufferedWriter | None = None
        self.trouble: OSError | None = None
        """Why the file could not be written; the rest of the data set was dropped."""
        self.size_bytes = 0

    @property
    def path(self) -> Path | None:
        """The file, once something was written."""
        return None if self._file is None else Path(self._file.name)

    def write(self, piece: Any) -> int:
        """Take the next piece; a disk that refuses is remembered, for the sender goes on sending.

        Raises
        ------
        TooLarge
            The data set exceeds the largest that is taken, or of another message than C-STORE any that this
            service sends.
        """
        self.size_bytes += len(piece)
        is_object = isinstance(self._message, C_STORE_RQ)
        most = self._max_bytes if is_object else MAX_OTHER_BYTES
        if self.size_bytes > most:
            raise TooLarge(f"expected a data set of at most {most} bytes, more came and was cut off")
        if not is_object:
            return super().write(piece)
        _drop_what_is_too_long(self._message)
        # What has no valid UIDs is refused when it is complete, and stored nowhere.
        if self.trouble is None and all(is_valid_uid(_uid(self._message, name)) for name in NAMES):
            try:
                self._file = self._file or self._begin()
                self._file.write(piece)
            except OSError as error:
                self._give_up(error)
        return len(piece)

    def finish(self) -> Path | None:
        """Close the file, so that its next owner sees every byte; None when there is none, or no longer."""
        path = self.path
        try:
            if self._file is not None:
                self._file.close()
        except OSError as error:
            self._give_up(error)
            return None
        return path

    def discard(self) -> None:
        """Remove what was written."""
        if self._file is not None:
            # What the buffer still holds need not reach the disk: closing may fail as writing did.
            with suppress(OSError):
                self._file.close()
            Path(self._file.name).unlink(missing_ok=True)
            self._file = None

    def _begin(self) -> BufferedWriter:
        context = next(
            c for c in self._association.accepted_contexts if c.context_id == self._message.context_id
        )
        file = (self._folder / f"{uuid4().hex}.dcm").open("xb")
        self._file = file
        file.write(b"\0" * 128 + b"DICM")
        meta = create_file_meta(
            sop_class_uid=UID(_uid(self._message, "AffectedSOPClassUID")),
            sop_instance_uid=UID(_uid(self._message, "AffectedSOPInstanceUID")),
            transfer_syntax=context.transfer_syntax[0],
        )
        write_file_meta_info(DicomFileLike(file), meta)
        return file

    def _give_up(self, error: OSError) -> None:
        log.error("a film cannot be written, the sender will be told: %s", type(error).__name__)
        self.trouble = error
        self.discard()


class Intake(DIMSEServiceProvider):
    """pynetdicom's receiver of messages, with the data sets of C-STORE on disk.

    Its own chunked receive (`STORE_RECV_CHUNKED_DATASET`) ends the thread of the association when the disk
    refuses, so that no sender ever has an answer; and it leaves the file of an object that was cut off.

    Parameters
    ----------
    association : pynetdicom.association.Association
        Whose messages these are.
    folder : Path
        Where files are made.
    max_bytes : int
        Largest data set of a C-STORE; a sender whose data set goes on beyond it is hung up on.
    refused : Callable[[str, str], None]
        Told the reason and the words, for each request that is refused here.
    """

    def __init__(
        self, association: Any, folder: Path, max_bytes: int, refused: Callable[[str, str], None]
    ) -> None:
        super().__init__(association)
        self._folder = folder
        self._max_bytes = max_bytes
        self._refused = refused

    def receive_primitive(self, primitive: Any) -> None:
        """Take the next fragments of a message; one that makes no sense aborts the association alone."""
        message = self.message
        if message is None:
            message = self.message = DIMSEMessage()
            message.data_set = IncomingObject(message, self.assoc, self._folder, self._max_bytes)
        incoming = message.data_set
        try:
            super().receive_primitive(primitive)
        except (*PARSE_FAILURES, StopIteration) as error:
            log.warning("a message that cannot be taken, association aborted: %s", type(error).__name__)
            self.discard()
            if isinstance(error, TooLarge):
                self._refused("too_large", str(error))
            # "Invalid PDU": pynetdicom answers with A-ABORT (PS3.8 table 9-10, AA-8).
            self.dul.event_queue.put("Evt19")
            return
        if self.message is None and isinstance(message, C_STORE_RQ):
            self._answer_what_lacks_a_field(message, incoming)

    def discard(self) -> None:
        """Remove the file of an object that was cut off."""
        incoming = None if self.message is None else self.message.data_set
        if isinstance(incoming, IncomingObject):
            incoming.discard()

    def _answer_what_lacks_a_field(self, message: C_STORE_RQ, incoming: BytesIO | None) -> None:
        """Refuse a C-STORE that pynetdicom drops without a word, and so leaves its sender waiting."""
        present = {element.keyword for element in message.command_set if element.value not in (None, "")}
        missing = [keyword for keyword in ("MessageID", *NAMES) if keyword not in present]
        if not missing:
            return
        words = f"expected a C-STORE with {' and '.join(missing)}, came one without, or with a longer one"
        log.warning("film not taken: %s", words)
        self._refused("invalid_uid" if set(missing).intersection(NAMES) else "incomplete_request", words)
        if isinstance(incoming, IncomingObject):
            incoming.discard()
        answer = C_STORE()
        answer.MessageIDBeingRespondedTo = int(message.command_set.get("MessageID") or 0)
        answer.Status = INVALID_INSTANCE if set(missing).intersection(NAMES) else CANNOT_UNDERSTAND
        if message.context_id is not None:
            self.send_msg(answer, message.context_id)


def _drop_what_is_too_long(message: DIMSEMessage) -> None:
    """Take a UID that cannot be one for a missing one: pynetdicom would abort the association for it."""
    for name in NAMES:
        if len(_uid(message, name)) > LONGEST_UID:
            delattr(message.command_set, name)


def _uid(message: DIMSEMessage, keyword: str) -> str:
    return str(message.command_set.get(keyword) or "")
