"""Pull a study by its accession number: C-FIND, then C-GET or C-MOVE, as SCU (PS3.4 annex C)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_io.acceptance import JUDGED_SOP_CLASSES
from dicom_io.association import EXPLICIT_LE, IMPLICIT_LE, Target, associate
from dicom_io.errors import DestinationError
from dicom_io.headers import is_valid_uid
from dicom_io.negotiation import ACCEPTED_TRANSFER_SYNTAXES
from dicom_io.part10 import MAX_FILE_BYTES
from dicom_io.scp import StoreStatus
from dicom_io.scu import PENDING

FIND = str(StudyRootQueryRetrieveInformationModelFind)
GET = str(StudyRootQueryRetrieveInformationModelGet)
MOVE = str(StudyRootQueryRetrieveInformationModelMove)

FILM_MODALITIES = ("CR", "DX", "RG", "OT", "")
"""Modalities whose series may hold a radiograph (PS3.3 section C.7.3.1.1.1); empty where it is not said."""
MAX_MATCHES = 1000
"""More answers than a study of radiographs has: the peer did not understand the question."""
MAX_CONTEXTS = 128
"""Presentation contexts of one association: their ids are the odd numbers to 255 (PS3.8 table 9-13)."""

RETRIEVE_TABLE: tuple[tuple[int, int, str], ...] = (
    (0xA701, 0xA701, "refused: out of resources, cannot count matches"),
    (
        0xA702,
        0xA702,
        "refused: it could not send; for C-MOVE: does our listener run, and does [[sender]] admit it?",
    ),
    (0xA801, 0xA801, "refused: it does not know our AE title as a move destination; add it there"),
    (0xA900, 0xA900, "error: identifier does not match SOP class"),
    (0xB000, 0xB000, "sub-operation failed: the source could not send it, or not in a form that we take"),
    (0xC000, 0xCFFF, "error: unable to process"),
    (0x0122, 0x0122, "refused: SOP class not supported"),
    (0x0124, 0x0124, "refused: not authorised"),
    (0xFE00, 0xFE00, "cancelled"),
)
"""First and last status of C-GET and C-MOVE, and the words (PS3.4 tables C.4-2 and C.4-3)."""


@dataclass(frozen=True)
class Study:
    """What a source says of a study; no name, on purpose."""

    study_instance_uid: str
    date: str = ""
    modalities: str = ""
    instances: str = ""
    """How many instances it holds, where the source says so."""


@dataclass(frozen=True)
class Instance:
    """An instance of a study that a source holds."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""
    """Empty where the source does not say: in a C-FIND it is optional (PS3.4 table C.6-4)."""
    modality: str = ""
    """Of the series."""

    @property
    def is_film(self) -> bool:
        """Whether its class is one that is judged; where it is unknown, whether the modality allows it."""
        if self.sop_class_uid:
            return self.sop_class_uid in JUDGED_SOP_CLASSES
        return self.modality in FILM_MODALITIES


@dataclass(frozen=True)
class Fetched:
    """An instance that came."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    encoded: bytes
    """A part-10 file, its data set byte for byte as it was sent."""


Take = Callable[[Fetched], bool]
"""Takes over what came; false when it could not be kept."""


class StudySource(Protocol):
    """Where studies can be pulled from."""

    def studies(self, accession_number: str) -> list[Study]:
        """Studies of that accession number."""

    def instances(self, study_instance_uid: str) -> list[Instance]:
        """Instances of that study."""

    def fetch(self, instances: Sequence[Instance], take: Take) -> Iterator[str | None]:
        """Fetch one after the other: None for each that was taken, else what went wrong."""


def only_of(accession_number: str, matches: Sequence[tuple[str, Study]], name: str) -> list[Study]:
    """Return the studies of that accession number; a careless peer lists others, too.

    Parameters
    ----------
    accession_number : str
        The one that was asked for.
    matches : Sequence[tuple[str, Study]]
        What was answered: the accession number of each study, which every peer must return (PS3.4 table
        C.6-5, PS3.18 table 10.6.3-3), and the study.
    name : str
        How messages call the peer.

    Raises
    ------
    DestinationError
        None is of that number, and of some the number was not told: the peer did not look for it.
    """
    studies = [
        study
        for number, study in matches
        if number == accession_number and is_valid_uid(study.study_instance_uid)
    ]
    if not studies and any(not number for number, _ in matches):
        raise DestinationError(
            f"{name}: expected studies with their accession number, came some without: it ignores the key"
        )
    return studies


@dataclass(frozen=True)
class DimseSource:
    """A PACS that is asked by C-FIND, in the Study Root model.

    Every method raises `DestinationError` when the peer cannot be asked or answers with a failure.
    """

    target: Target
    move_to: str | None = None
    """AE title of the listener to which films are moved; None gets them on our own association."""

    def studies(self, accession_number: str) -> list[Study]:
        """Studies of that accession number; others that a careless peer lists are left out."""
        query = _query("STUDY", AccessionNumber=accession_number, StudyInstanceUID="")
        query.StudyDate = query.ModalitiesInStudy = query.NumberOfStudyRelatedInstances = ""
        matches = [
            (
                _text(found, "AccessionNumber"),
                Study(
                    _text(found, "StudyInstanceUID"),
                    _text(found, "StudyDate"),
                    _text(found, "ModalitiesInStudy"),
                    _text(found, "NumberOfStudyRelatedInstances"),
                ),
            )
            for found in self._find([query])
        ]
        return only_of(accession_number, matches, self.target.name)

    def instances(self, study_instance_uid: str) -> list[Instance]:
        """Instances of that study, series by series, as the hierarchy wants it (PS3.4 section C.4.1.3.1)."""
        query = _query("SERIES", StudyInstanceUID=study_instance_uid, SeriesInstanceUID="", Modality="")
        series = {
            _text(found, "SeriesInstanceUID"): _text(found, "Modality")
            for found in self._find([query])
            if _text(found, "StudyInstanceUID") in ("", study_instance_uid)
        }
        queries = [
            _query(
                "IMAGE",
                StudyInstanceUID=study_instance_uid,
                SeriesInstanceUID=uid,
                SOPInstanceUID="",
                SOPClassUID="",
            )
            for uid in series
            if is_valid_uid(uid)
        ]
        return [
            Instance(
                study_instance_uid,
                _text(found, "SeriesInstanceUID"),
                _text(found, "SOPInstanceUID"),
                _text(found, "SOPClassUID"),
                series[_text(found, "SeriesInstanceUID")],
            )
            for found in (self._find(queries) if queries else [])
            if is_valid_uid(_text(found, "SOPInstanceUID"))
            and _text(found, "SeriesInstanceUID") in series
            and _text(found, "StudyInstanceUID") in ("", study_instance_uid)
        ]

    def fetch(self, instances: Sequence[Instance], take: Take) -> Iterator[str | None]:
        """Fetch one after the other: None for each that was taken, else what went wrong.

        Each is asked for on its own, so that the answer is about it alone. Over C-GET a film arrives in the
        transfer syntax in which it is stored: each is offered in a context of its own.
        """
        if self.move_to is None:
            return self._get(instances, take)
        return self._move(instances)

    def takes_get(self) -> bool:
        """Whether the peer offers C-GET and would send us films on our own association."""
        contexts = [(GET, IMPLICIT_LE), *((uid, IMPLICIT_LE) for uid in JUDGED_SOP_CLASSES)]
        with associate(self.target, contexts, as_scp=list(JUDGED_SOP_CLASSES)) as association:
            accepted = association.accepted_contexts
            return any(c.abstract_syntax == GET for c in accepted) and any(c.as_scp for c in accepted)

    def _find(self, queries: Sequence[Dataset]) -> list[Dataset]:
        found: list[Dataset] = []
        with associate(self.target, [(FIND, EXPLICIT_LE), (FIND, IMPLICIT_LE)]) as association:
            _need(self.target, association, FIND, "C-FIND (Study Root)")
            for query in queries:
                found += self._matches(association.send_c_find(query, FIND))
        return found

    def _matches(self, answers: Iterator[tuple[Dataset, Dataset | None]]) -> list[Dataset]:
        matches: list[Dataset] = []
        last = None
        for status, identifier in answers:
            last = status.get("Status")
            if last in PENDING and identifier is not None:
                matches.append(identifier)
            if len(matches) > MAX_MATCHES:
                raise DestinationError(
                    f"{self.target.name}: expected a few matches to C-FIND, got more than {MAX_MATCHES}"
                )
        if last != 0x0000:
            raise DestinationError(f"{self.target.name}: C-FIND failed: {_words(last)}")
        return matches

    def _get(self, instances: Sequence[Instance], take: Take) -> Iterator[str | None]:
        classes = sorted({i.sop_class_uid for i in instances if i.sop_class_uid} or JUDGED_SOP_CLASSES)
        offered = [(uid, syntax) for uid in classes for syntax in ACCEPTED_TRANSFER_SYNTAXES]
        contexts = [(GET, EXPLICIT_LE), (GET, IMPLICIT_LE), *offered][:MAX_CONTEXTS]
        inbox = _Inbox(take)
        handlers = [(evt.EVT_C_STORE, inbox.store), (evt.EVT_PDU_RECV, inbox.count)]
        with associate(self.target, contexts, as_scp=classes, handlers=handlers) as association:
            _need(self.target, association, GET, "C-GET (Study Root)")
            for instance in instances:
                if inbox.trouble:
                    yield "not asked for: the one before was cut off"
                    continue
                inbox.expect(instance.sop_instance_uid)
                trouble = _outcome(association, association.send_c_get, _identifier(instance), GET)
                trouble = inbox.trouble or trouble or "the source says that it sent it, it did not come"
                yield None if inbox.taken else trouble

    def _move(self, instances: Sequence[Instance]) -> Iterator[str | None]:
        with associate(self.target, [(MOVE, EXPLICIT_LE), (MOVE, IMPLICIT_LE)]) as association:
            _need(self.target, association, MOVE, "C-MOVE (Study Root)")
            for instance in instances:
                identifier = _identifier(instance)
                yield _outcome(association, association.send_c_move, identifier, self.move_to, MOVE)


class _Inbox:
    """Takes what C-GET brings, if it is what was asked for."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._expected = ""
        self._came_bytes = 0
        self.taken = False
        self.trouble = ""
        """Why we hung up, if we did."""

    def expect(self, sop_instance_uid: str) -> None:
        self._expected, self.taken = sop_instance_uid, False
        self._came_bytes = 0

    def count(self, event: Any) -> None:
        """Hang up when more comes than one object may have: pynetdicom would keep it all in memory."""
        if isinstance(event.pdu, P_DATA_TF):
            self._came_bytes += len(event.pdu)
        if self._came_bytes > MAX_FILE_BYTES and not self.trouble:
            self.trouble = f"expected at most {MAX_FILE_BYTES} bytes, more came and was cut off"
            event.assoc.dul.socket.close()

    def store(self, event: Any) -> int:
        """Answer 0x0000 (kept), 0x0117 (not what was asked for) or 0xA700 (our own trouble)."""
        uid, sop_class = str(event.request.AffectedSOPInstanceUID), str(event.request.AffectedSOPClassUID)
        if uid != self._expected or sop_class != str(event.context.abstract_syntax):
            return StoreStatus.INVALID_INSTANCE
        encoded = event.encoded_dataset(include_meta=True)
        self.taken = self._take(Fetched(sop_class, uid, str(event.context.transfer_syntax), encoded))
        return StoreStatus.SUCCESS if self.taken else StoreStatus.OUT_OF_RESOURCES


def _need(target: Target, association: Any, model: str, words: str) -> None:
    if not any(context.abstract_syntax == model for context in association.accepted_contexts):
        raise DestinationError(f"{target.name}: expected {words} to be accepted, it is not")


def _query(level: str, **keys: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def _identifier(instance: Instance) -> Dataset:
    return _query(
        "IMAGE",
        StudyInstanceUID=instance.study_instance_uid,
        SeriesInstanceUID=instance.series_instance_uid,
        SOPInstanceUID=instance.sop_instance_uid,
    )


def _outcome(association: Any, retrieve: Callable[..., Any], *request: Any) -> str | None:
    """Retrieve one instance; what the last answer says, None when it came across."""
    if not association.is_established:
        return "not asked for: the source ended the association"
    status = [status for status, _ in retrieve(*request)][-1]
    code = status.get("Status")
    if code != 0x0000:
        return _words(code)
    # A peer that does not count says nothing here.
    if status.get("NumberOfCompletedSuboperations") == 0:
        return "the source no longer has it, or could not send it"
    return None


def _words(code: int | None) -> str:
    if code is None:
        return "no answer: the source ended the association or was silent; may our AE title retrieve there?"
    for first, last, words in RETRIEVE_TABLE:
        if first <= code <= last:
            return f"0x{code:04X} {words}"
    return f"0x{code:04X} unknown status"


def _text(dataset: Dataset, keyword: str) -> str:
    """First value, or several joined with a comma, as text."""
    value = dataset.get(keyword)
    if isinstance(value, str | None):
        return (value or "").strip()
    try:
        return ", ".join(str(part) for part in value)
    except TypeError:
        return str(value)
