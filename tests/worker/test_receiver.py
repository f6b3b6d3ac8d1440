"""From the wire to the committed row: what is acknowledged is kept, and a kill leaves no riddle."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from builders import CR_STORAGE, build_film, to_bytes
from parts import free_port
from pydicom import FileDataset, dcmread
from pynetdicom import AE
from rows import events, image
from scripted_pacs import end_server
from sqlalchemy import Engine, event, func, select

from dicom_io.scp import Peer, StoreStatus
from dicom_io.spool import Folder
from worker import database
from worker.queries import ledger
from worker.receiver import Receiver
from worker.settings import Listener, Sender, Settings
from worker.tables import Event, Image

EXPLICIT_LE = "1.2.840.10008.1.2.1"


@dataclass
class Site:
    """A receiver with its listener, its database and its spool."""

    settings: Settings
    engine: Engine
    woken: list[int] = field(default_factory=list)

    @property
    def receiver(self) -> Receiver:
        return Receiver(self.settings, self.engine, lambda: self.woken.append(1))

    @property
    def spool(self) -> Path:
        return self.settings.data / "spool"

    def send(self, film: FileDataset, aet: str = "STORESCU") -> int | None:
        """Status of the answer; None when the association was rejected or lost."""
        entity = AE(ae_title=aet)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
        entity.add_requested_context(CR_STORAGE, EXPLICIT_LE)
        association = entity.associate("127.0.0.1", self.settings.listener.port, ae_title="CXRWORKER")
        if not association.is_established:
            return None
        try:
            return association.send_c_store(film).get("Status")
        finally:
            association.release()

    def rows(self) -> list[Image]:
        with database.read(self.engine) as session:
            return list(session.scalars(select(Image).order_by(Image.id)))

    def files(self) -> list[str]:
        return sorted(path.stem for path in self.spool.glob("??/*.dcm"))


@pytest.fixture
def site(tmp_path: Path, sqlite_engine: Engine, own_process_settings: None) -> Iterator[Site]:
    settings = Settings(
        data=tmp_path / "data",
        node_id="test",
        listener=Listener(port=free_port()),
        sender=(Sender(aet="STORESCU", host="127.0.0.1"), Sender(aet="ELSEWHERE", host="10.0.0.1")),
    )
    made = Site(settings, sqlite_engine)
    listener = made.receiver.listener()
    listener.start()
    yield made
    end_server(listener.stop, settings.listener.port)


def test_a_success_means_that_file_and_row_are_there(site: Site) -> None:
    film = build_film()
    assert site.send(film) == 0x0000
    (row,) = site.rows()
    assert site.files() == [row.spool_name]
    assert dcmread(Folder(site.spool).path(row.spool_name)) == film
    assert (row.sop_instance_uid, row.transfer_syntax_uid) == (film.SOPInstanceUID, EXPLICIT_LE)
    assert (row.calling_aet, row.calling_host, row.state) == ("STORESCU", "127.0.0.1", "received")
    assert events(site.engine, row.id) == [(None, "received")]
    assert site.woken == [1]
    assert list((site.spool / "incoming").iterdir()) == []


def test_the_row_is_committed_before_the_answer_leaves(site: Site) -> None:
    """Seen by a connection of its own, at the moment when the sender has its answer."""
    assert site.send(build_film()) == 0x0000
    with sqlite3.connect(site.settings.data / "cxr.sqlite3") as other:
        assert other.execute("SELECT count(*) FROM image").fetchall() == [(1,)]
    other.close()


def test_the_same_film_twice_is_one_row_one_file_and_two_successes(site: Site) -> None:
    assert [site.send(build_film()) for _ in range(2)] == [0x0000, 0x0000]
    assert len(site.rows()) == len(site.files()) == 1
    assert site.woken == [1], "a repeat is no work"


def test_another_film_under_the_same_uid_is_kept_beside_it(site: Site) -> None:
    assert site.send(build_film()) == 0x0000
    assert site.send(build_film(PatientID="ANOTHER")) == 0x0000
    assert len(site.rows()) == len(site.files()) == 2


def test_a_known_title_from_another_host_is_not_admitted(site: Site) -> None:
    assert site.receiver.admits(Peer("ELSEWHERE", "10.0.0.1"))
    assert site.send(build_film(), aet="ELSEWHERE") is None
    assert site.send(build_film(), aet="STRANGER") is None
    with database.read(site.engine) as session:
        turned_away = [(r.calling_aet, r.reason) for r in ledger.rejections(session)]
    assert sorted(turned_away) == [("ELSEWHERE", "unknown_sender"), ("STRANGER", "unknown_sender")]
    assert site.rows() == []


def test_without_senders_nobody_is_admitted(sqlite_engine: Engine, tmp_path: Path) -> None:
    receiver = Receiver(Settings(data=tmp_path), sqlite_engine, lambda: None)
    assert not receiver.admits(Peer("STORESCU", "127.0.0.1"))


def test_a_sender_without_a_host_is_admitted_from_anywhere(sqlite_engine: Engine, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, sender=(Sender(aet="CR1"),))
    receiver = Receiver(settings, sqlite_engine, lambda: None)
    assert receiver.admits(Peer("CR1", "10.9.8.7"))
    assert not receiver.admits(Peer("CR2", "10.9.8.7"))


# Our own trouble


def break_spool(site: Site) -> Callable[[], None]:
    """Files where the folders would go: root, who may run the tests, ignores permissions."""
    blocks = [site.spool / f"{number:02x}" for number in range(256)]
    for block in blocks:
        block.touch()
    return lambda: [block.unlink() for block in blocks].clear()


def move_database(site: Site) -> Callable[[], None]:
    file = site.settings.data / "cxr.sqlite3"
    site.engine.dispose()
    away = file.rename(file.with_suffix(".away"))
    file.mkdir()

    def mend() -> None:
        file.rmdir()
        away.rename(file)

    return mend


def lock_database(site: Site) -> Callable[[], None]:
    holder = sqlite3.connect(site.settings.data / "cxr.sqlite3", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return holder.close


def empty_database(site: Site) -> Callable[[], None]:
    """Somebody put a database without tables in its place."""
    file = site.settings.data / "cxr.sqlite3"
    site.engine.dispose()
    for part in site.settings.data.glob("cxr.sqlite3-*"):
        part.unlink()
    away = file.rename(file.with_suffix(".away"))

    def mend() -> None:
        site.engine.dispose()
        away.rename(file)

    return mend


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, sqlite_engine: Engine) -> None:
    """Wait for a locked database for a moment only, not ten seconds."""
    impatiently = [p if "busy" not in p else "busy_timeout = 300" for p in database.SQLITE_PRAGMAS]
    monkeypatch.setattr(database, "SQLITE_PRAGMAS", tuple(impatiently))
    sqlite_engine.dispose()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("trouble", [break_spool, move_database, lock_database, empty_database])
def test_our_own_trouble_is_answered_a700_and_the_next_film_goes_on(
    site: Site, trouble: Callable[[Site], Callable[[], None]], caplog: pytest.LogCaptureFixture
) -> None:
    mend = trouble(site)
    assert site.send(build_film()) == StoreStatus.OUT_OF_RESOURCES == 0xA700
    mend()
    assert "Åsa" not in caplog.text
    assert site.woken == []
    assert site.send(build_film()) == 0x0000
    assert len(site.rows()) == len(site.files()) == 1


@pytest.mark.usefixtures("impatient")
def test_a_rejection_that_cannot_be_recorded_is_still_a_rejection(site: Site) -> None:
    mend = lock_database(site)
    assert site.send(build_film(), aet="STRANGER") is None
    mend()
    assert site.send(build_film()) == 0x0000


# After a kill


def test_a_film_without_its_row_is_adopted_at_the_next_start(site: Site) -> None:
    """Killed between rename and commit: the sender has no answer, the film is there all the same."""
    film = build_film()
    stored = Folder(site.spool).write(to_bytes(film))
    assert site.receiver.recover() == (0, 1)
    (row,) = site.rows()
    assert (row.spool_name, row.sop_instance_uid) == (stored.name, film.SOPInstanceUID)
    assert (row.content_sha256, row.calling_aet) == (stored.content_sha256, "")
    with database.read(site.engine) as session:
        assert session.scalar(select(Event.actor)) == "test/listener/recovery"
    assert site.receiver.recover() == (0, 0)
    assert site.send(film) == 0x0000, "the sender sends it again"


def test_unfinished_files_are_removed_at_the_next_start(site: Site) -> None:
    (site.spool / "incoming" / "tmpabc.dcm").write_bytes(b"\0" * 100)
    assert site.receiver.recover() == (1, 0)
    assert list((site.spool / "incoming").iterdir()) == []
    assert site.rows() == []


def test_a_film_with_its_row_is_left_alone_by_recovery(site: Site) -> None:
    assert site.send(build_film()) == 0x0000
    before = site.files()
    assert site.receiver.recover() == (0, 0)
    assert site.files() == before
    assert image(site.engine, 1).state == "received"


def test_an_orphan_in_another_file_meta_is_removed_as_a_repeat(site: Site) -> None:
    assert site.send(build_film()) == 0x0000
    before = site.files()
    other = build_film()
    other.file_meta.ImplementationVersionName = "ANOTHER"
    # As the listener writes it: in the very encoding of the film that came over the wire.
    encoded = Folder(site.spool).read(before[0])
    start = encoded.index(b"\x08\x00\x05\x00CS")
    meta = to_bytes(other)
    Folder(site.spool).write(meta[: meta.index(b"\x08\x00\x05\x00CS")] + encoded[start:])
    assert len(site.files()) == 2
    site.receiver.recover()
    assert site.files() == before
    assert len(site.rows()) == 1


def test_an_orphan_that_is_no_dicom_does_not_keep_the_listener_from_starting(site: Site) -> None:
    """One bad file harms nothing else; it is left where a person can look at it."""
    garbage = Folder(site.spool).write(b"no DICOM at all")
    film = Folder(site.spool).write(to_bytes(build_film()))
    assert site.receiver.recover() == (0, 1)
    assert [row.spool_name for row in site.rows()] == [film.name]
    assert garbage.name in site.files()


def test_a_spool_folder_that_was_removed_is_made_at_start(site: Site) -> None:
    shutil.rmtree(site.spool)
    assert site.receiver.recover() == (0, 0)
    assert (site.spool / "incoming").is_dir()


def test_a_thousand_rows_do_not_make_a_lookup_scan_them(site: Site) -> None:
    """The inbox is asked for each film that comes: by its index, not by reading all rows."""
    statements: list[tuple[str, Any]] = []
    event.listen(
        site.engine,
        "before_cursor_execute",
        lambda c, cur, statement, parameters, ctx, many: statements.append((statement, parameters)),
    )
    assert site.send(build_film()) == 0x0000
    lookup, parameters = next(
        (s, p) for s, p in statements if s.startswith("SELECT") and "content_sha256" in s
    )
    with site.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {lookup}", parameters).fetchall()
        assert connection.scalar(select(func.count()).select_from(Image)) == 1
    assert "USING COVERING INDEX" in str(plan) or "USING INDEX" in str(plan)
