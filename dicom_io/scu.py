"""Send results and ask for them: C-STORE and C-FIND as SCU (PS3.4 annexes B and C)."""

from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path

from pydicom import FileDataset, dcmread
from pydicom.dataset import Dataset
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from dicom_io.association import EXPLICIT_LE, IMPLICIT_LE, Target, associate
from dicom_io.errors import DestinationError, HoldsAnother, Unanswered
from dicom_io.headers import printable
from dicom_io.transcode import decompress, is_compressed

__all__ = [
    "COMPARED",
    "STATUS_TABLE",
    "Identity",
    "Outcome",
    "StoreAnswer",
    "Target",
    "echo",
    "find",
    "outcome_of",
    "send_file",
    "store",
]

EXPLICIT_BE = "1.2.840.10008.1.2.2"
PENDING = (0xFF00, 0xFF01)


class Outcome(StrEnum):
    """What follows from a C-STORE status."""

    SENT = "sent"
    """The destination has it."""
    DUPLICATE = "duplicate"
    """It says that it has it already: ask, and compare."""
    AGAIN = "again"
    """Try again later."""
    AGAIN_ALARM = "again_alarm"
    """Try again later, and tell an administrator."""
    AGAIN_FOR_A_DAY = "again_for_a_day"
    """Not understood: the next form of it; without one try again for 24 hours, then give up."""
    NEVER = "never"
    """This object will not be taken in this form: the next form of it, or none."""


STATUS_TABLE: tuple[tuple[int, int, Outcome, str], ...] = (
    (0x0000, 0x0000, Outcome.SENT, "success"),
    (0xB000, 0xB000, Outcome.SENT, "warning: coercion of data elements"),
    (0xB006, 0xB006, Outcome.SENT, "warning: elements discarded"),
    (0xB007, 0xB007, Outcome.SENT, "warning: data set does not match SOP class"),
    (0x0111, 0x0111, Outcome.DUPLICATE, "duplicate SOP instance"),
    (0x0110, 0x0110, Outcome.AGAIN, "processing failure"),
    (0xA700, 0xA7FF, Outcome.AGAIN, "refused: out of resources"),
    (0x0124, 0x0124, Outcome.AGAIN_ALARM, "refused: not authorised"),
    (0x0122, 0x0122, Outcome.NEVER, "refused: SOP class not supported"),
    (0xA900, 0xA9FF, Outcome.NEVER, "error: data set does not match SOP class"),
    (0xC000, 0xCFFF, Outcome.AGAIN_FOR_A_DAY, "error: cannot understand"),
)
"""First and last status, what follows, and the words (PS3.4 table B.2-1, PS3.7 annex C)."""


@dataclass(frozen=True)
class StoreAnswer:
    """The answer to one C-STORE."""

    status: int
    outcome: Outcome
    words: str
    """What the status means, by our table."""
    comment: str = ""
    """What the peer adds; it may quote a patient, so it is stored and never logged."""

    @property
    def text(self) -> str:
        """Status, words and comment, for the record."""
        return ": ".join(part for part in (f"0x{self.status:04X} {self.words}", self.comment) if part)


@dataclass(frozen=True)
class Identity:
    """By what a read-back recognises an object."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str | None = None
    """Compared when it is given; a PACS may coerce it."""


def outcome_of(status: int) -> tuple[Outcome, str]:
    """Look the status up; any unknown one is tried again."""
    for first, last, outcome, words in STATUS_TABLE:
        if first <= status <= last:
            return outcome, words
    return Outcome.AGAIN, "unknown status"


def store(target: Target, encoded: bytes) -> StoreAnswer:
    """Send one part-10 object by C-STORE.

    Its own transfer syntax, Explicit and Implicit VR Little Endian are proposed in contexts of their own
    (PS3.5 section 10.1). It goes out as it is stored when the peer takes that, else uncompressed.

    Raises
    ------
    Unreachable
        No association came about.
    Unanswered
        The association broke between request and answer.
    UnreadablePixels
        The peer takes the object uncompressed alone, and it cannot be decompressed.
    """
    return _send(target, dcmread(BytesIO(encoded)))


def send_file(target: Target, path: Path) -> StoreAnswer:
    """Send a DICOM file by C-STORE, as `store` does.

    Raises
    ------
    Unreachable, Unanswered
        No association came about, or it broke between request and answer.
    UnreadablePixels
        The peer takes the object uncompressed alone, and it cannot be decompressed.
    """
    return _send(target, dcmread(path))


def _send(target: Target, dataset: FileDataset) -> StoreAnswer:
    sop_class, stored = str(dataset.SOPClassUID), str(dataset.file_meta.TransferSyntaxUID)
    proposed = dict.fromkeys((stored, EXPLICIT_LE, IMPLICIT_LE))
    with associate(target, [(sop_class, syntax) for syntax in proposed]) as association:
        accepted = {str(context.transfer_syntax[0]) for context in association.accepted_contexts}
        if not accepted:
            return StoreAnswer(0x0122, Outcome.NEVER, "SOP class not accepted at association")
        if stored not in accepted:
            if stored == EXPLICIT_BE:
                return StoreAnswer(0x0122, Outcome.NEVER, "Explicit VR Big Endian not accepted")
            if is_compressed(stored):
                decompress(dataset)
        response = association.send_c_store(dataset)
    return _answer(target, response)


def _answer(target: Target, response: Dataset) -> StoreAnswer:
    if "Status" not in response:
        raise Unanswered(f"{target.name}: expected an answer to C-STORE, got none")
    status = int(response.Status)
    outcome, words = outcome_of(status)
    return StoreAnswer(status, outcome, words, printable(str(response.get("ErrorComment", ""))))


COMPARED = {
    "SOPClassUID": "sop_class_uid",
    "StudyInstanceUID": "study_instance_uid",
    "SeriesInstanceUID": "series_instance_uid",
    "PatientID": "patient_id",
}
"""What a read-back compares, besides the SOP Instance UID, and where `Identity` holds it."""


def find(target: Target, identity: Identity) -> tuple[str, ...] | None:
    """Ask by C-FIND at image level whether the peer holds this object.

    Returns
    -------
    tuple of str or None
        None when it does not. Else the keywords of what the peer holds under another value, which it
        coerced; empty when all is equal, or was not returned.

    Raises
    ------
    DestinationError
        The peer could not be asked.
    HoldsAnother
        The peer holds an object of another class under this SOP Instance UID.
    """
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = identity.study_instance_uid
    query.SeriesInstanceUID = identity.series_instance_uid
    query.SOPInstanceUID = identity.sop_instance_uid
    query.SOPClassUID = query.PatientID = ""
    for match in _matches(target, query):
        if str(match.get("SOPInstanceUID", "")) != identity.sop_instance_uid:
            continue
        differing = tuple(
            keyword for keyword, name in COMPARED.items() if _differs(match, keyword, identity, name)
        )
        if "SOPClassUID" in differing:
            raise HoldsAnother(f"{target.name}: holds an object of another class under our UID")
        return differing
    return None


def _matches(target: Target, query: Dataset) -> list[Dataset]:
    """Identifiers that the peer answers to a query."""
    model = StudyRootQueryRetrieveInformationModelFind
    with associate(target, [(str(model), EXPLICIT_LE), (str(model), IMPLICIT_LE)]) as association:
        if not association.accepted_contexts:
            raise DestinationError(f"{target.name}: expected C-FIND (Study Root) to be accepted, it is not")
        answers = [(s, found) for s, found in association.send_c_find(query, model) if "Status" in s]
    if not answers or answers[-1][0].Status not in (0x0000, *PENDING):
        raise DestinationError(f"{target.name}: expected an answer to C-FIND, got a failure")
    return [found for status, found in answers if status.Status in PENDING and found is not None]


def _differs(match: Dataset, keyword: str, identity: Identity, name: str) -> bool:
    """Whether both sides name a value, and not the same one."""
    found, expected = str(match.get(keyword) or ""), getattr(identity, name)
    return bool(found) and expected is not None and found != expected


def echo(target: Target) -> bool:
    """Whether the peer answers C-ECHO."""
    try:
        with associate(target, [(str(Verification), IMPLICIT_LE)]) as association:
            response = association.send_c_echo()
    except DestinationError:
        return False
    return "Status" in response and int(response.Status) == 0
