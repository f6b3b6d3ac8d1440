"""What came from us, or is no film, is counted, kept by its header and never analysed."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from builders import build_film, build_secondary_capture, to_bytes
from parts import free_port, need
from pydicom import Dataset, FileDataset, dcmread
from rows import events, image
from scripted_pacs import end_server
from sqlalchemy import Engine, select

from worker import database, pipeline
from worker.cli import status
from worker.context import Context
from worker.queries import ledger
from worker.receiver import Receiver
from worker.settings import Listener, Sender
from worker.states import ImageState
from worker.tables import Analysis, Image, Result

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
PROFILES = ("comprehensive-3d", "comprehensive", "enhanced", "basic-text")
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"


@dataclass
class Site:
    """A listener with its database, and a worker that takes what it received when the test says so."""

    context: Context
    folder: Path

    @property
    def receiver(self) -> Receiver:
        return Receiver(self.context.settings, self.context.engine, lambda: None)

    def send(self, *files: Path) -> None:
        """By dcmtk's storescu."""
        port = str(self.context.settings.listener.port)
        command = [
            need("storescu", "dcmtk"),
            "-R",
            "-xr",
            "-aec",
            "CXRWORKER",
            "127.0.0.1",
            port,
            *map(str, files),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def file(self, dataset: FileDataset, name: str) -> Path:
        path = self.folder / f"{name}.dcm"
        path.write_bytes(to_bytes(dataset))
        return path

    def work(self) -> list[Image]:
        """Take up all that waits; returns every row."""
        for row in self.rows(Image):
            pipeline.analyse(self.context, row.id)
        return self.rows(Image)

    def rows(self, table: type[Any]) -> list[Any]:
        with database.read(self.context.engine) as session:
            return list(session.scalars(select(table).order_by(table.id)))

    def spooled(self) -> set[str]:
        return {path.stem for path in self.context.spool.root.glob("??/*.dcm")}

    def header(self, row: Image) -> Dataset:
        assert row.header_name is not None
        return dcmread(BytesIO(self.context.headers.read(row.header_name)))

    def balances(self) -> bool:
        with database.read(self.context.engine) as session:
            return ledger.ledger(session).difference == 0 and ledger.lost_images(session) == []


@pytest.fixture
def site(
    make_context: Callable[..., Context], sqlite_engine: Engine, predictor: Any, tmp_path: Path
) -> Iterator[Site]:
    port = free_port()
    context = make_context(
        sqlite_engine,
        listener=Listener(port=port),
        sender=(Sender(aet="STORESCU"),),
        destination=[
            {"name": name, "aet": "PACS", "host": "h", "port": 104, "profile": name} for name in PROFILES
        ],
    )
    context.__dict__["predictor"] = predictor
    made = Site(context, tmp_path)
    listener = made.receiver.listener()
    listener.start()
    yield made
    end_server(listener.stop, port)


def test_our_own_results_come_back_and_are_counted_but_not_analysed(site: Site) -> None:
    """In all forms, as they are; then through an archive that calls itself their manufacturer."""
    site.send(site.file(build_film(), "film"))
    site.work()
    results = site.rows(Result)
    assert {result.kind for result in results} >= {"sr", "sc"}
    assert len({result.sop_class_uid for result in results if result.kind == "sr"}) == len(PROFILES)
    assert len(site.rows(Analysis)) == 1
    site.send(*(site.context.results.path(result.sha256) for result in results))
    for result in results:
        rewritten = dcmread(site.context.results.path(result.sha256))
        rewritten.Manufacturer, rewritten.SeriesDescription = "ARCHIVE", "Series 1"
        site.send(site.file(rewritten, f"rewritten-{result.id}"))
    film, *came = site.work()
    assert film.state == ImageState.ANALYSED
    assert len(came) == 2 * len(results)
    assert {(row.state, row.reason) for row in came} == {("refused", "own_output")}
    assert len(site.rows(Analysis)) == 1
    assert site.spooled() == {film.spool_name}
    assert all("PixelData" not in site.header(row) for row in came)
    assert {site.header(row).SOPInstanceUID for row in came} == {row.sop_instance_uid for row in came}
    assert site.balances()
    assert status.collect(site.context)["refused"] == {"own_output": len(came)}


def test_what_is_no_film_is_kept_by_its_header(site: Site) -> None:
    other_sr = build_film(SOPClassUID=BASIC_TEXT_SR, SOPInstanceUID="1.2.3.1", Modality="SR", PixelData=None)
    document = build_film(
        **{"SOPClassUID": ENCAPSULATED_PDF, "SOPInstanceUID": "1.2.3.2", "Modality": "DOC"},
        **{
            "PixelData": None,
            "EncapsulatedDocument": b"%PDF-1.4 " + bytes(5001),
            "MIMETypeOfEncapsulatedDocument": "application/pdf",
        },
    )
    many = build_secondary_capture(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7.2", SOPInstanceUID="1.2.3.3", NumberOfFrames=2
    )
    site.send(site.file(other_sr, "sr"), site.file(document, "pdf"), site.file(many, "frames"))
    rows = site.work()
    assert [(row.state, row.reason) for row in rows] == [("refused", "sop_class")] * 3
    assert [row.patient_id for row in rows] == ["PID-4711"] * 3
    assert site.spooled() == set()
    for row, sent in zip(rows, (other_sr, document, many), strict=True):
        header = site.header(row)
        assert header.SOPInstanceUID == sent.SOPInstanceUID
        assert (header.PatientName, header.StudyInstanceUID) == (sent.PatientName, sent.StudyInstanceUID)
        assert "PixelData" not in header
        assert "EncapsulatedDocument" not in header
    assert site.balances()


def test_a_film_that_is_refused_for_what_it_shows_is_kept_whole(site: Site) -> None:
    site.send(site.file(build_film(BodyPartExamined="HAND"), "hand"))
    (row,) = site.work()
    assert (row.reason, row.header_name) == ("not_chest", None)
    assert site.spooled() == {row.spool_name}


def test_the_same_object_again_brings_neither_row_nor_file(site: Site) -> None:
    document = site.file(
        build_film(SOPClassUID=BASIC_TEXT_SR, SOPInstanceUID="1.2.3.1", Modality="SR", PixelData=None), "sr"
    )
    site.send(document)
    site.work()
    site.send(document)
    assert len(site.rows(Image)) == 1
    assert site.spooled() == set()
    assert site.balances()


def test_a_kill_between_the_refusal_and_the_removal_is_mended_at_the_next_start(site: Site) -> None:
    path = site.file(
        build_film(SOPClassUID=BASIC_TEXT_SR, SOPInstanceUID="1.2.3.1", Modality="SR", PixelData=None), "sr"
    )
    site.send(path)
    (received,) = site.rows(Image)
    left = site.context.spool.path(received.spool_name)
    content = left.read_bytes()
    (row,) = site.work()
    assert row.state == ImageState.REFUSED
    left.write_bytes(content)
    removed, adopted = site.receiver.recover()
    assert (removed, adopted) == (0, 0)
    assert site.spooled() == set()
    assert [event for event in events(site.context.engine, row.id) if event[0] is None] == [
        (None, "received")
    ]
    assert site.balances()


def test_an_object_whose_header_cannot_be_written_is_kept_whole_and_refused(site: Site) -> None:
    site.send(site.file(build_film(SOPClassUID=BASIC_TEXT_SR, PixelData=None, Modality="SR"), "sr"))
    site.context.headers.incoming.rmdir()
    (row,) = site.work()
    assert (row.state, row.reason, row.header_name) == ("refused", "sop_class", None)
    assert site.spooled() == {row.spool_name}
    assert image(site.context.engine, row.id).state == ImageState.REFUSED
