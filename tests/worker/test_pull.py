"""`cxr-worker pull`, against Orthanc and dcmtk's archive: what comes is received like any film, and once."""

import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from archives import Dcmqrscp
from builders import build_dx, build_film, build_secondary_capture, compress, to_bytes
from parts import SOCKETS_LEFT, Orthanc, free_port
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from scripted_pacs import end_server
from scripted_web import ScriptedWeb

from dicom_io import dicomweb, retrieve
from dicom_io.association import Target
from dicom_io.dicomweb import WebTarget
from dicom_io.errors import DestinationError
from dicom_io.retrieve import DimseSource, Fetched, Instance
from dicom_io.scp import StorageListener
from dicom_io.wado import WebSource
from worker import context
from worker.receiver import Receiver

CommandLine = Callable[..., tuple[int, str, str]]
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
PATIENT = "STRANGER^NAMED"
STUDY, OTHER_STUDY, THIRD_STUDY = "1.2.3.1", "1.2.3.2", "1.2.3.3"
pytestmark = SOCKETS_LEFT


def placed(accession: str, study: str, number: int, **more: str) -> dict[str, str]:
    return {
        "AccessionNumber": accession,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": f"{study}.{number}",
        "SOPInstanceUID": f"{study}.{number}.1",
        "PatientName": PATIENT,
        **more,
    }


FILMS = {
    "CR": build_film(**placed("A1", STUDY, 1)),
    "DX, compressed": compress(build_dx(**placed("A1", STUDY, 2)), JPEG_LOSSLESS),
    "SC": build_secondary_capture(**placed("A1", STUDY, 3)),
    "of another study": build_film(**placed("A2", OTHER_STUDY, 1)),
    "of a third study": build_film(**placed("A2", THIRD_STUDY, 1)),
    "no film": build_film(**placed("A1", STUDY, 4, SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1", Modality="US")),
    "only no film": build_film(**placed("A3", "1.2.3.4", 1, SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1")),
}
ENCODED = [to_bytes(film) for film in FILMS.values()]


@pytest.fixture(scope="module")
def listener_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, listener_port: int) -> Iterator[Orthanc]:
    known = {"us": ["CXRWORKER", "127.0.0.1", listener_port]}
    folder = tmp_path_factory.mktemp("orthanc")
    with Orthanc.running(folder, dicomweb=True, DicomAlwaysAllowGet=True, DicomModalities=known) as server:
        for film in ENCODED:
            dicomweb.stow(WebTarget(server.dicomweb_url), film)
        yield server


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, listener_port: int) -> Iterator[Dcmqrscp]:
    with Dcmqrscp.running(tmp_path_factory.mktemp("dcmqrscp"), known=("CXRWORKER", listener_port)) as server:
        server.put(*ENCODED[:1], *ENCODED[2:])
        yield server


def rows(folder: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "data" / "cxr.sqlite3") as database:
        return database.execute(
            "SELECT sop_instance_uid, transfer_syntax_uid FROM image ORDER BY 1"
        ).fetchall()


def uid_of(name: str) -> str:
    return str(FILMS[name].SOPInstanceUID)


def spooled(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (folder / "data" / "spool").glob("??/*.dcm"))


@pytest.fixture(params=["C-GET from Orthanc", "WADO-RS from Orthanc"])
def source(request: pytest.FixtureRequest, orthanc: Orthanc) -> str:
    return orthanc.dicomweb_url if "WADO" in request.param else f"ORTHANC@127.0.0.1:{orthanc.port}"


def test_the_films_of_a_study_are_received_as_they_are_stored(
    command_line: CommandLine, source: str, tmp_path: Path
) -> None:
    code, output, errors = command_line("pull", source, "A1")
    assert (code, errors) == (0, ""), output
    assert "film 3 of 3: taken" in output
    assert "3 of 3 films pulled, 0 failed; 1 other objects" in output
    assert PATIENT not in output
    expected = {(uid_of(name), str(FILMS[name].file_meta.TransferSyntaxUID)) for name in list(FILMS)[:3]}
    assert set(rows(tmp_path)) == expected
    assert not list((tmp_path / "data" / "spool" / "incoming").iterdir())


def test_what_was_pulled_before_is_not_analysed_again(
    command_line: CommandLine, source: str, tmp_path: Path
) -> None:
    command_line("pull", source, "A1")
    code, output, _ = command_line("pull", source, "A1")
    assert code == 0
    assert output.count("known already, and not analysed again") == 3
    assert len(rows(tmp_path)) == len(spooled(tmp_path)) == 3


def test_of_several_studies_one_must_be_named(command_line: CommandLine, source: str, tmp_path: Path) -> None:
    code, output, _ = command_line("pull", source, "A2")
    assert code == 1
    assert OTHER_STUDY in output
    assert THIRD_STUDY in output
    assert "--study" in output
    assert PATIENT not in output
    code, output, _ = command_line("pull", source, "A2", "--study", THIRD_STUDY)
    assert (code, [uid for uid, _ in rows(tmp_path)]) == (0, [uid_of("of a third study")])
    code, output, _ = command_line("pull", source, "A2", "--study", STUDY)
    assert code == 1
    assert "no study with this accession number has that Study Instance UID" in output


def test_a_study_that_is_not_there_or_has_no_film_is_said(command_line: CommandLine, source: str) -> None:
    code, output, _ = command_line("pull", source, "NONE")
    assert (code, output) == (1, "no study with this accession number there\n")
    code, output, _ = command_line("pull", source, "A3")
    assert code == 1
    assert "1 instances, and no CR, DX or SC image" in output


def test_dcmtks_archive_sends_by_c_get(command_line: CommandLine, archive: Dcmqrscp, tmp_path: Path) -> None:
    code, output, errors = command_line("pull", f"{archive.aet}@127.0.0.1:{archive.port}", "A1")
    assert (code, errors) == (0, ""), output
    assert [uid for uid, _ in rows(tmp_path)] == [uid_of("CR"), uid_of("SC")]


@pytest.fixture
def listener(
    command_line: CommandLine, own_process_settings: None, listener_port: int, tmp_path: Path
) -> Iterator[StorageListener]:
    """Our own listener, as `cxr-worker listen` runs it, that admits both archives."""
    (tmp_path / "data" / "config.toml").write_text(
        f'[listener]\nport = {listener_port}\n[[sender]]\naet = "ORTHANC"\n[[sender]]\naet = "ARCHIVE"\n'
        f'[[destination]]\nname = "pacs"\naet = "ORTHANC"\nhost = "127.0.0.1"\nport = 1\n'
    )
    command_line("migrate")
    current = context.get()
    running = Receiver(current.settings, current.engine, lambda: None).listener()
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize("kind", ["orthanc", "archive"])
def test_films_are_moved_to_our_listener(
    listener: StorageListener,
    command_line: CommandLine,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    kind: str,
) -> None:
    server: Any = request.getfixturevalue(kind)
    code, output, errors = command_line("pull", f"{server.aet}@127.0.0.1:{server.port}", "A1", "--by", "move")
    assert (code, errors) == (0, ""), output
    assert "sent to our listener" in output
    assert {uid_of("CR"), uid_of("SC")} <= {uid for uid, _ in rows(tmp_path)}


def test_a_listener_that_is_away_is_named_as_the_likely_cause(
    command_line: CommandLine, archive: Dcmqrscp
) -> None:
    address = f"{archive.aet}@127.0.0.1:{archive.port}"
    code, output, _ = command_line("pull", address, "A1", "--by", "move")
    assert code == 1
    assert "0 of 2 films pulled, 2 failed" in output
    assert "does our listener run" in output


def test_an_unknown_move_destination_is_named(command_line: CommandLine, archive: Dcmqrscp) -> None:
    source = DimseSource(archive.target(), move_to="NOBODYKNOWS")
    assert (
        list(source.fetch(source.instances(STUDY), lambda _: True))
        == ["0xA801 refused: it does not know our AE title as a move destination; add it there"] * 3
    )


def test_a_source_that_lets_nobody_retrieve_is_said(tmp_path: Path) -> None:
    with Orthanc.running(tmp_path, DicomAlwaysAllowGet=False) as server:
        target = Target("ORTHANC", "127.0.0.1", server.port, "CXRWORKER", 2)
        instance = Instance(STUDY, f"{STUDY}.1", f"{STUDY}.1.1", "1.2.840.10008.5.1.4.1.1.1")
        first, second = DimseSource(target).fetch([instance, instance], lambda _: True)
    assert "may our AE title retrieve there" in str(first)
    assert "ended the association" in str(second)


def test_what_cannot_be_kept_is_a_failure(
    command_line: CommandLine, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_line("migrate")
    spool = tmp_path / "data" / "spool"
    spool.mkdir()
    # Each of the 256 folders of the spool is a file: a film can be received, and not moved to its place.
    for number in range(256):
        (spool / f"{number:02x}").write_text("")
    code, output, _ = command_line("pull", source, "A1")
    assert code == 1
    assert "0 of 3 films pulled, 3 failed" in output
    assert rows(tmp_path) == []
    assert not list((spool / "incoming").iterdir())


@pytest.mark.parametrize("accession", ["", " ", "A*", "A?", "A\\B", "12345678901234567", "A\n"])
def test_an_accession_number_that_would_find_others_is_refused(
    command_line: CommandLine, accession: str
) -> None:
    code, _, errors = command_line("pull", "ORTHANC@127.0.0.1:1", accession)
    assert code == 2
    assert "ACCESSION: expected" in errors


@pytest.mark.parametrize("word", ["nowhere", "A@B", "http://u:secret@h/", "AET@host:99999", "@h:1"])
def test_a_source_that_is_none_is_refused_in_words(command_line: CommandLine, word: str) -> None:
    code, _, errors = command_line("pull", word, "A1")
    assert code == 2
    assert "expected" in errors
    assert "secret" not in errors


def test_nobody_there_is_said_in_words(command_line: CommandLine) -> None:
    code, _, errors = command_line("pull", f"ORTHANC@127.0.0.1:{free_port()}", "A1")
    assert code == 2
    assert "nobody answers" in errors


# Careless servers


def test_a_server_that_ignores_the_accession_number_yields_nothing_of_other_patients() -> None:
    studies = b"""[{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "00080050": {"vr": "SH", "Value": ["B"]}},
                  {"0020000D": {"vr": "UI", "Value": ["1.3"]}, "00080050": {"vr": "SH", "Value": ["A"]}},
                  {"0020000D": {"vr": "UI", "Value": ["1.4"]}},
                  {"0020000D": {"vr": "UI", "Value": ["?"]}, "00080050": {"vr": "SH", "Value": ["A"]}}]"""
    with ScriptedWeb.running(body=studies) as web:
        assert [s.study_instance_uid for s in WebSource(WebTarget(web.url)).studies("A")] == ["1.3"]


def test_a_server_that_lists_another_study_yields_nothing_of_it() -> None:
    instances = b"""[{"0020000D": {"vr": "UI", "Value": ["%s"]}, "0020000E": {"vr": "UI", "Value": ["1.2.1"]},
                      "00080018": {"vr": "UI", "Value": ["1.2.1.1"]}}]"""
    for study, count in ((b"1.2", 1), (b"1.3", 0)):
        with ScriptedWeb.running(body=instances % study) as web:
            assert len(WebSource(WebTarget(web.url)).instances("1.2")) == count


@pytest.mark.parametrize(
    ("told", "taken"), [([("1.2", "B"), ("1.3", "A"), ("1.4", ""), ("no UID", "A")], ["1.3"]), ([], [])]
)
def test_a_pacs_that_ignores_the_accession_number_yields_nothing_of_other_patients(
    told: list[tuple[str, str]], taken: list[str]
) -> None:
    with finding(told) as target:
        studies = DimseSource(target).studies("A")
    assert [study.study_instance_uid for study in studies] == taken


def test_a_pacs_that_does_not_say_the_accession_number_is_not_believed() -> None:
    told = [("1.2", ""), ("1.3", "B")]
    with finding(told) as target, pytest.raises(DestinationError, match="ignores the key"):
        DimseSource(target).studies("A")


@contextmanager
def finding(told: list[tuple[str, str]]) -> Iterator[Target]:
    """A PACS that answers every question with these studies and accession numbers."""

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for study, accession in told:
            answer = Dataset()
            answer.QueryRetrieveLevel = "STUDY"
            answer.add_new("StudyInstanceUID", "UI", study)
            answer.AccessionNumber = accession
            yield 0xFF00, answer

    entity = AE()
    entity.add_supported_context(retrieve.FIND)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    port = int(server.server_address[1])  # type: ignore[union-attr]
    try:
        yield Target("PACS", "127.0.0.1", port, "CXRWORKER", 20)
    finally:
        end_server(server.shutdown, port)  # type: ignore[union-attr]


def test_a_pacs_that_sends_another_instance_is_not_believed() -> None:
    def send(event: Any) -> Iterator[Any]:
        yield 1
        yield 0xFF00, FILMS["of another study"]

    taken: list[Fetched] = []
    with getting(send) as target:
        asked = [Instance(STUDY, f"{STUDY}.1", uid_of("CR"), str(FILMS["CR"].SOPClassUID))]
        (outcome,) = DimseSource(target).fetch(asked, lambda came: not taken.append(came))  # type: ignore[func-returns-value]
    assert outcome is not None
    assert not taken


def test_an_object_without_end_is_cut_off_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrieve, "MAX_FILE_BYTES", 2**20)
    sent = 0

    def send(event: Any) -> Iterator[Any]:
        nonlocal sent
        yield 1
        message = C_STORE_RQ()
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = cr, uid_of("CR")
        request.DataSet = BytesIO(bytes(2**20))
        message.primitive_to_message(request)
        context = next(c for c in event.assoc.accepted_contexts if c.abstract_syntax == cr)
        begin = list(message.encode_msg(context.context_id, 16384))[:-1]
        raw = event.assoc.dul.socket.socket
        with suppress(OSError):
            for fragment in chain(begin, repeat(begin[-1], 5_000)):
                pdu = P_DATA_TF()
                pdu.from_primitive(fragment)
                raw.sendall(pdu.encode())
                sent += 1
        yield 0xFE00, None

    cr = str(FILMS["CR"].SOPClassUID)
    taken: list[Fetched] = []
    with getting(send) as target:
        asked = [Instance(STUDY, f"{STUDY}.1", uid_of("CR"), cr)] * 2
        first, second = DimseSource(target).fetch(asked, lambda came: not taken.append(came))  # type: ignore[func-returns-value]
    assert "1048576 bytes" in str(first)
    assert "not asked for" in str(second)
    assert not taken
    assert sent < 5_000


@contextmanager
def getting(send: Callable[[Any], Iterator[Any]]) -> Iterator[Target]:
    """A PACS that answers C-GET as told, and sends CR."""
    cr = str(FILMS["CR"].SOPClassUID)
    entity = AE()
    entity.add_supported_context(retrieve.GET)
    entity.add_supported_context(cr, scu_role=False, scp_role=True)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_GET, send)])
    port = int(server.server_address[1])  # type: ignore[union-attr]
    try:
        yield Target("PACS", "127.0.0.1", port, "CXRWORKER", 20)
    finally:
        end_server(server.shutdown, port)  # type: ignore[union-attr]


def test_a_server_that_sends_another_instance_is_not_believed() -> None:
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + ENCODED[0] + b"\r\n--b--"
    media_type = 'multipart/related; type="application/dicom"; boundary=b'
    taken: list[Fetched] = []
    with ScriptedWeb.running(body=part, media_type=media_type) as web:
        source = WebSource(WebTarget(web.url))
        asked = [Instance(STUDY, f"{STUDY}.9", "1.2.9.9"), Instance(STUDY, f"{STUDY}.1", uid_of("CR"))]
        outcomes = list(source.fetch(asked, lambda came: not taken.append(came)))  # type: ignore[func-returns-value]
    assert outcomes == ["the server sent another instance than the one that was asked for", None]
    assert [came.encoded for came in taken] == [ENCODED[0]]


def test_a_deflated_film_is_taken_as_it_came_and_not_inflated() -> None:
    """One that would become 256 MB is the spool's, and the worker's to refuse."""
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    film.SOPClassUID, film.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    film.add_new("PixelData", "OB", bytes(256 << 20))
    bomb = to_bytes(film)
    assert len(bomb) < 1 << 20
    taken: list[Fetched] = []
    media_type = 'multipart/related; type="application/dicom"; boundary=b'
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + bomb + b"\r\n--b--"
    tracemalloc.start()
    try:
        with ScriptedWeb.running(body=part, media_type=media_type) as web:
            source, asked = WebSource(WebTarget(web.url)), [Instance(STUDY, f"{STUDY}.1", "1.2.3")]
            assert list(source.fetch(asked, lambda came: not taken.append(came))) == [None]  # type: ignore[func-returns-value]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken[0].encoded == bomb
    assert taken[0].transfer_syntax_uid == DeflatedExplicitVRLittleEndian
    assert peak < 64 << 20


def test_a_film_without_multipart_around_it_is_taken() -> None:
    taken: list[Fetched] = []
    with ScriptedWeb.running(body=ENCODED[0], media_type="application/dicom") as web:
        asked = [Instance(STUDY, f"{STUDY}.1", uid_of("CR"))]
        outcomes = WebSource(WebTarget(web.url)).fetch(asked, lambda came: not taken.append(came))  # type: ignore[func-returns-value]
        assert list(outcomes) == [None]
    assert taken[0].encoded == ENCODED[0]
    accepted = web.requests[0].headers["Accept"]
    assert accepted == 'multipart/related; type="application/dicom"; transfer-syntax=*'


@pytest.mark.parametrize("body", [b"", b"--b\r\n\r\nno dicom\r\n--b--", b"--b\r\nContent-Type: x"])
def test_an_answer_that_is_no_film_is_a_failure_of_that_film(body: bytes) -> None:
    with ScriptedWeb.running(body=body, media_type="multipart/related; boundary=b") as web:
        instance = Instance(STUDY, f"{STUDY}.1", uid_of("CR"))
        (outcome,) = WebSource(WebTarget(web.url)).fetch([instance], lambda _: True)
    assert "expected DICOM, got something else" in str(outcome)


def test_a_source_with_endless_matches_is_stopped(
    archive: Dcmqrscp, orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieve, "MAX_MATCHES", 1)
    with pytest.raises(DestinationError, match="more than 1"):
        DimseSource(archive.target()).studies("A2")
    monkeypatch.setattr("dicom_io.wado.MAX_MATCHES", 1)
    with pytest.raises(DestinationError, match="more than 1"):
        WebSource(WebTarget(orthanc.dicomweb_url)).studies("A2")
