"""A small storing PACS for the demonstration only: it keeps what it is sent as files, and answers C-ECHO."""

import time
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_io.headers import is_valid_uid

STORED = 0x0000
CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True)
class Arrival:
    """One object that arrived."""

    path: Path
    modality: str
    study_instance_uid: str
    referenced: frozenset[str]
    """SOP Instance UIDs of the films that it is about."""
    at: float
    """Moment of its arrival, `time.time()`."""


class DemoPacs:
    """Stores every object as `FOLDER/study/series/instance.dcm`."""

    def __init__(self, folder: Path, aet: str, port: int) -> None:
        self.folder = folder
        self.arrivals: list[Arrival] = []
        self._arrived = Condition()
        self._entity = AE(ae_title=aet)
        self._entity.supported_contexts = AllStoragePresentationContexts
        self._entity.add_supported_context(Verification)
        self._address = ("127.0.0.1", port)
        self._server: Any = None

    def start(self) -> None:
        """Open the port."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store)]
        self._server = self._entity.start_server(self._address, block=False, evt_handlers=handlers)

    def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.shutdown()

    def wait(self, timeout_s: float) -> None:
        """Return when something arrives, or after that time."""
        with self._arrived:
            self._arrived.wait(timeout_s)

    def about(self, sop_instance_uid: str, modality: str) -> Arrival | None:
        """The object of that modality about that film, once it is here."""
        matches = (a for a in self.arrivals if a.modality == modality and sop_instance_uid in a.referenced)
        return next(matches, None)

    def _store(self, event: Any) -> int:
        dataset = event.dataset
        uids = [dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID]
        if not all(is_valid_uid(str(uid)) for uid in uids):
            return CANNOT_UNDERSTAND
        study, series, instance = (str(uid) for uid in uids)
        path = self.folder / study / series / f"{instance}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(event.encoded_dataset())
        arrival = Arrival(path, str(dataset.Modality), study, _referenced(dataset), time.time())
        with self._arrived:
            self.arrivals.append(arrival)
            self._arrived.notify_all()
        return STORED


def _referenced(dataset: Any) -> frozenset[str]:
    """All SOP instances that an object refers to, wherever it does."""
    found = {str(e.value) for e in dataset.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
    return frozenset(found)
