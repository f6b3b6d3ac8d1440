"""Deliveries to PACS that others wrote, each with its proof: Orthanc and dcmtk."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from parts import TLS_SOCKETS_LEFT, Orthanc, answers, end, free_port, need, wait_until
from pydicom import dcmread
from rows import analyse, change, delivery, events, image, now, put_report_in_forms
from sqlalchemy import Engine, select

from dicom_io.profiles import Profile
from worker import database
from worker.context import Context
from worker.delivery import deliver
from worker.receiver import Receiver
from worker.settings import Destination
from worker.states import DeliveryState, ImageState
from worker.tables import Commitment, Delivery, Event, Result

MakeContext = Callable[..., Context]
COMPARED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "PatientName",
)

pytestmark = TLS_SOCKETS_LEFT


def to(port: int, aet: str, proof: str, **more: Any) -> Destination:
    values = {"name": "pacs", "aet": aet, "host": "127.0.0.1", "port": port, "proof": proof}
    return Destination.model_validate({**values, **more})


@contextmanager
def running(program: str, package: str, *arguments: str, port: int, folder: Path) -> Iterator[None]:
    """A server of others, in its folder, until the block ends."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [need(program, package), *arguments], cwd=folder, start_new_session=True, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: answers(port), f"{program} to answer")
        yield
    finally:
        end(process)


def delivered(context: Context, proof: str) -> tuple[Any, list[Any]]:
    """Deliver a report and a picture; their rows."""
    made = analyse(context.engine, [("pacs", proof)], results=2, folder=context.results)
    put_report_in_forms(context.engine, made, context.results)
    for delivery_id in made.delivery_ids:
        deliver(context, delivery_id)
    return made, [delivery(context.engine, delivery_id) for delivery_id in made.delivery_ids]


def sent_objects(context: Context, rows: list[Any]) -> dict[str, Any]:
    """What was to be sent, by SOP Instance UID."""
    with database.read(context.engine) as session:
        results = [session.get_one(Result, found.result_id) for found in rows]
    paths = [context.results.path(result.sha256) for result in results]
    return {str(read.SOPInstanceUID): read for read in map(dcmread, paths)}


def assert_same_objects(context: Context, rows: list[Any], held: list[Any]) -> None:
    """What the peer holds is what was sent, by identity and by content."""
    ours = sent_objects(context, rows)
    assert sorted(str(found.SOPInstanceUID) for found in held) == sorted(ours)
    for found in held:
        for keyword in COMPARED:
            assert found[keyword].value == ours[str(found.SOPInstanceUID)][keyword].value, keyword
        assert found.PixelData == ours[str(found.SOPInstanceUID)].PixelData


def read_all(orthanc: Orthanc, folder: Path) -> list[Any]:
    held = []
    for number, name in enumerate(orthanc.instances()):
        (folder / f"{number}.dcm").write_bytes(orthanc.file(name))
        held.append(dcmread(folder / f"{number}.dcm"))
    return held


# Orthanc


@pytest.fixture(scope="module")
def listener_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, listener_port: int) -> Iterator[Orthanc]:
    """Orthanc that knows our listener, and so tells it what it commits to; with its DICOMweb plug-in."""
    us = {"AET": "CXRWORKER", "Host": "127.0.0.1", "Port": listener_port}
    folder = tmp_path_factory.mktemp("archive")
    with Orthanc.running(folder, dicomweb=True, DicomModalities={"cxr": us}) as server:
        yield server


@pytest.fixture
def empty_archive(archive: Orthanc) -> Orthanc:
    archive.empty()
    return archive


@contextmanager
def listening(context: Context) -> Iterator[None]:
    listener = Receiver(context.settings, context.engine, lambda: None).listener()
    listener.start()
    try:
        yield
    finally:
        listener.stop()


@pytest.mark.usefixtures("own_process_settings")
def test_orthanc_commits_to_what_it_took_by_calling_our_listener(
    make_context: MakeContext,
    sqlite_engine: Engine,
    empty_archive: Orthanc,
    listener_port: int,
    tmp_path: Path,
) -> None:
    context = make_context(
        sqlite_engine,
        destination=(to(empty_archive.port, "ORTHANC", "commitment"),),
        listener={"port": listener_port},
        sender=({"aet": "ORTHANC", "host": "127.0.0.1"},),
    )
    with listening(context):
        made, _ = delivered(context, "commitment")
        wait_until(
            lambda: image(sqlite_engine, made.image_id).state == ImageState.REPORTED, "the commitment", 20
        )
    rows = [delivery(sqlite_engine, delivery_id) for delivery_id in made.delivery_ids]
    assert [found.state for found in rows] == [DeliveryState.CONFIRMED] * 2
    with database.read(sqlite_engine) as session:
        asked = session.scalars(select(Commitment)).all()
        causes = set(session.scalars(select(Event.cause).where(Event.after == DeliveryState.CONFIRMED)))
    assert all(question.answered_at and question.failure_reason is None for question in asked)
    assert causes == {"storage committed"}
    assert events(sqlite_engine, made.image_id)[-1] == ("analysed", "reported")
    assert_same_objects(context, rows, read_all(empty_archive, tmp_path))


@pytest.mark.usefixtures("own_process_settings")
def test_orthanc_does_not_commit_to_what_was_deleted_there_and_gets_it_again(
    make_context: MakeContext, sqlite_engine: Engine, empty_archive: Orthanc, listener_port: int
) -> None:
    context = make_context(
        sqlite_engine,
        destination=(to(empty_archive.port, "ORTHANC", "commitment"),),
        listener={"port": listener_port},
        sender=({"aet": "ORTHANC", "host": "127.0.0.1"},),
    )
    # Nobody listens yet: the first answer is lost, and the objects are deleted meanwhile.
    made, rows = delivered(context, "commitment")
    assert [found.state for found in rows] == [DeliveryState.SENT] * 2
    empty_archive.empty()
    with listening(context):
        _make_due(context, made.delivery_ids[0])
        deliver(context, made.delivery_ids[0])
        wait_until(
            lambda: delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.DUE,
            "the refusal",
            20,
        )
        reason = str(delivery(sqlite_engine, made.delivery_ids[0]).reason)
        assert reason == "not committed: 0x0112 no such object instance"
        _make_due(context, made.delivery_ids[0])
        deliver(context, made.delivery_ids[0])
        _wait_for(context, made.delivery_ids[0], DeliveryState.CONFIRMED)
    assert len(empty_archive.instances()) == 1


def _make_due(context: Context, delivery_id: int) -> None:
    change(context.engine, Delivery, delivery_id, due_at=now(context.engine))


def _wait_for(context: Context, delivery_id: int, state: DeliveryState) -> None:
    wait_until(lambda: delivery(context.engine, delivery_id).state == state, f"the state {state}", 20)


def test_orthanc_finds_by_qido_what_came_by_stow(
    make_context: MakeContext, sqlite_engine: Engine, empty_archive: Orthanc, tmp_path: Path
) -> None:
    web = Destination.model_validate({"name": "pacs", "url": empty_archive.dicomweb_url})
    context = make_context(sqlite_engine, destination=(web,))
    made, rows = delivered(context, "qido")
    assert [(found.state, found.status) for found in rows] == [(DeliveryState.CONFIRMED, 0)] * 2
    assert image(sqlite_engine, made.image_id).state == ImageState.REPORTED
    assert_same_objects(context, rows, read_all(empty_archive, tmp_path))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made_in(tmp_path_factory.mktemp("tls") / "hospital")


@pytest.fixture(scope="module")
def our_tls(hospital: Authority) -> dict[str, Path | None]:
    files = hospital.certify("cxr-worker")
    return {"ca": files.ca, "certificate": files.certificate, "key": files.key}


def test_orthanc_takes_and_finds_over_tls(
    make_context: MakeContext,
    sqlite_engine: Engine,
    hospital: Authority,
    our_tls: dict[str, Path | None],
    tmp_path: Path,
) -> None:
    files = hospital.certify("orthanc")
    (tmp_path / "orthanc").mkdir()
    options = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(files.certificate),
        "DicomTlsPrivateKey": str(files.key),
        "DicomTlsTrustedCertificates": str(files.ca),
    }
    with Orthanc.running(tmp_path / "orthanc", **options) as secured:
        context = make_context(sqlite_engine, destination=(to(secured.port, "ORTHANC", "find", tls=our_tls),))
        _, rows = delivered(context, "find")
        assert [found.state for found in rows] == [DeliveryState.CONFIRMED] * 2
        assert_same_objects(context, rows, read_all(secured, tmp_path))


# dcmtk


def test_dcmqrscp_takes_and_finds(make_context: MakeContext, sqlite_engine: Engine, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "dcmqrscp"
    (folder / "QRSCP").mkdir(parents=True)
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        "AETable BEGIN\nQRSCP QRSCP RW (200, 1024mb) ANY\nAETable END\n"
    )
    with running("dcmqrscp", "dcmtk", "-c", "dcmqrscp.cfg", port=port, folder=folder):
        context = make_context(sqlite_engine, destination=(to(port, "QRSCP", "find"),))
        made, rows = delivered(context, "find")
    assert [found.state for found in rows] == [DeliveryState.CONFIRMED] * 2
    assert image(sqlite_engine, made.image_id).state == ImageState.REPORTED
    held = [dcmread(path) for path in (folder / "QRSCP").iterdir() if path.suffix == ".dcm"]
    assert_same_objects(context, rows, held)


@pytest.mark.parametrize("over_tls", [False, True])
def test_storescp_takes_and_is_not_asked(
    make_context: MakeContext,
    sqlite_engine: Engine,
    hospital: Authority,
    our_tls: dict[str, Path | None],
    tmp_path: Path,
    over_tls: bool,
) -> None:
    port, folder = free_port(), tmp_path / "storescp"
    folder.mkdir()
    secure: list[str] = []
    if over_tls:
        files = hospital.certify("storescp")
        secure = ["+tls", str(files.key), str(files.certificate), "+cf", str(files.ca)]
    with running("storescp", "dcmtk", *secure, str(port), port=port, folder=folder):
        more = {"tls": our_tls} if over_tls else {}
        context = make_context(sqlite_engine, destination=(to(port, "ANY", "none", **more),))
        made, rows = delivered(context, "none")
    assert [found.state for found in rows] == [DeliveryState.SENT] * 2
    assert image(sqlite_engine, made.image_id).state == ImageState.REPORTED
    held = [dcmread(path) for path in folder.iterdir() if path.name != "log"]
    assert_same_objects(context, rows, held)


def test_storescp_that_takes_basic_text_alone_gets_that(
    make_context: MakeContext, sqlite_engine: Engine, tmp_path: Path
) -> None:
    """Its association profile names the two classes of an old PACS."""
    port, folder = free_port(), tmp_path / "storescp"
    folder.mkdir()
    (folder / "old.cfg").write_text(
        "[[TransferSyntaxes]]\n[Uncompressed]\nTransferSyntax1 = LittleEndianExplicit\n"
        "TransferSyntax2 = LittleEndianImplicit\n"
        "[[PresentationContexts]]\n[Old]\nPresentationContext1 = BasicTextSRStorage\\Uncompressed\n"
        "PresentationContext2 = ComputedRadiographyImageStorage\\Uncompressed\n"
        "[[Profiles]]\n[Old]\nPresentationContexts = Old\n"
    )
    (folder / "stored").mkdir()
    options = ("-xf", "old.cfg", "Old", "-od", "stored", str(port))
    with running("storescp", "dcmtk", *options, port=port, folder=folder):
        context = make_context(sqlite_engine, destination=(to(port, "ANY", "none"),))
        made, (report, picture) = delivered(context, "none")
    assert (report.state, picture.state) == (DeliveryState.SENT, DeliveryState.SENT)
    assert report.fell_back_from == "comprehensive-3d, comprehensive, enhanced"
    with database.read(sqlite_engine) as session:
        assert session.get_one(Result, report.result_id).profile == Profile.BASIC_TEXT
    assert_same_objects(context, [report, picture], list(map(dcmread, (folder / "stored").iterdir())))
    assert image(sqlite_engine, made.image_id).state == ImageState.REPORTED
