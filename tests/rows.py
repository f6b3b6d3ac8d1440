"""Rows for the tests of queue and delivery, made by the product's own statements where it has one."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from builders import build_film, to_bytes
from pydicom import Dataset
from pydicom.uid import generate_uid
from sqlalchemy import Engine, select, update

from dicom_io.profiles import CHAIN, REPORT_SOP_CLASS, Profile
from dicom_io.scp import Peer, ReceivedInstance
from dicom_io.spool import Folder, StoredObject
from worker import database
from worker.queries import images
from worker.states import DeliveryState, ImageState
from worker.tables import Analysis, Delivery, Event, Image, Result

CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
EXPLICIT_LE = "1.2.840.10008.1.2.1"


def digest(*words: object) -> str:
    return sha256(repr(words).encode()).hexdigest()


def instance(uid: str, path: Path = Path("nowhere")) -> ReceivedInstance:
    return ReceivedInstance(CR_STORAGE, uid, EXPLICIT_LE, Peer("STORESCU", "127.0.0.1"), path)


def receive(
    engine: Engine, uid: str = "1.2.3", content: str = "first", stored: StoredObject | None = None
) -> int | None:
    """Record one film as the listener does; None for a repeat."""
    stored = stored or StoredObject(digest("file", uid, content), digest("content", content), 1000)
    with database.write(engine) as session:
        image = images.record(session, instance(uid), stored, actor="test/listener")
        return None if image is None else image.id


@dataclass(frozen=True)
class Analysed:
    """An analysed film and its deliveries, in the order of `results` x `destinations`."""

    image_id: int
    delivery_ids: list[int]
    uids: list[str]
    """SOP Instance UID of each result."""


def analyse(
    engine: Engine,
    destinations: Sequence[tuple[str, str]] = (("pacs", "find"),),
    results: int = 1,
    folder: Folder | None = None,
    uid: str = "1.2.3",
) -> Analysed:
    """Bring a film to `analysed`, with its results on disk when a folder is given."""
    image_id = receive(engine, uid)
    assert image_id is not None
    with database.write(engine) as session:
        claim = images.claim(session, image_id, lease_s=60, actor="test/worker")
        assert claim is not None
        moment = database.now(session)
        judged: dict[str, Any] = dict.fromkeys(("threshold", "band_low", "band_high", "duration_s"), 0.5)
        analysis = Analysis(
            image_id=image_id,
            model_name="model",
            model_version="1",
            weights_sha256=digest("weights"),
            package_version="0",
            node_id="test",
            backend="none",
            decision="negative",
            probability=0.25,
            created_at=moment,
            **judged,
        )
        session.add(analysis)
        session.flush()
        made = [_result(session, analysis, number, uid, folder) for number in range(results)]
        deliveries = [
            Delivery(
                result_id=result.id,
                destination=name,
                proof=proof,
                state=DeliveryState.DUE,
                created_at=moment,
                due_at=moment,
            )
            for result in made
            for name, proof in destinations
        ]
        session.add_all(deliveries)
        image = images.held(session, claim)
        images.move(session, image, ImageState.ANALYSED, actor="test/worker", cause="test")
        images.let_go(image)
        session.flush()
        return Analysed(image_id, [d.id for d in deliveries], [r.sop_instance_uid for r in made])


def put_report_in_forms(engine: Engine, made: Analysed, folder: Folder) -> dict[Profile, str]:
    """Turn the first result into a report in its richest form, and add the other forms; UIDs by profile."""
    uids = {}
    with database.write(engine) as session:
        first = session.scalars(select(Result).where(Result.sop_instance_uid == made.uids[0])).one()
        for profile in CHAIN:
            film = build_film(
                SOPClassUID=REPORT_SOP_CLASS[profile],
                SOPInstanceUID=generate_uid(entropy_srcs=[profile, made.uids[0]]),
            )
            result = first
            if profile != CHAIN[0]:
                result = Result(image_id=first.image_id, analysis_id=first.analysis_id, kind=first.kind)
                session.add(result)
            _describe(session, result, film, folder.write(to_bytes(film)), profile)
            uids[profile] = str(film.SOPInstanceUID)
    return uids


def _result(session: Any, analysis: Analysis, number: int, uid: str, folder: Folder | None) -> Result:
    film = build_film(SOPInstanceUID=generate_uid(entropy_srcs=["result", uid, str(number)]))
    stored = folder.write(to_bytes(film)) if folder else StoredObject(digest(uid, number), digest(number), 1)
    kind = ("sr", "sc")[number % 2]
    result = Result(image_id=analysis.image_id, analysis_id=analysis.id, kind=kind)
    session.add(result)
    _describe(session, result, film, stored, "test")
    return result


def _describe(session: Any, result: Result, film: Dataset, stored: StoredObject, profile: str) -> None:
    result.profile = profile
    result.sop_class_uid = str(film.SOPClassUID)
    result.sop_instance_uid = str(film.SOPInstanceUID)
    result.study_instance_uid = str(film.StudyInstanceUID)
    result.series_instance_uid = str(film.SeriesInstanceUID)
    result.sha256, result.size_bytes = stored.name, stored.size_bytes
    with session.no_autoflush:
        result.created_at = database.now(session)
    session.flush()


def row(engine: Engine, table: type[Any], row_id: int) -> Any:
    with database.read(engine) as session:
        return session.get_one(table, row_id)


def image(engine: Engine, image_id: int) -> Image:
    found: Image = row(engine, Image, image_id)
    return found


def delivery(engine: Engine, delivery_id: int) -> Delivery:
    found: Delivery = row(engine, Delivery, delivery_id)
    return found


def events(engine: Engine, image_id: int) -> list[tuple[str | None, str]]:
    """Changes of state of an image, in order, without those of its deliveries."""
    with database.read(engine) as session:
        chosen = (
            select(Event).where(Event.image_id == image_id, Event.delivery_id.is_(None)).order_by(Event.id)
        )
        return [(event.before, event.after) for event in session.scalars(chosen)]


def change(engine: Engine, table: type[Any], row_id: int, **values: Any) -> None:
    """Set columns as time or an operator would."""
    with database.write(engine) as session:
        session.execute(update(table).where(table.id == row_id).values(**values))


def now(engine: Engine) -> Any:
    with database.read(engine) as session:
        return database.now(session)
