"""`cxr-worker doctor`: each way in which a peer can fail us is told apart, with the box to tick."""

import json
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from threading import Thread
from typing import Any

import pytest
from archives import Dcmqrscp, storescp
from certificates import Authority
from parts import SOCKETS_LEFT, Orthanc, free_port
from pydicom.uid import JPEGBaseline8Bit, RLELossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from scripted_pacs import EXPLICIT_LE, IMPLICIT_LE, ScriptedPacs, end_server
from scripted_web import ScriptedWeb

from dicom_io.phantom import PATIENT_ID
from dicom_io.rejections import REJECTIONS
from dicom_io.tls import server_context

CommandLine = Callable[..., tuple[int, str, str]]
SC, CR = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.1"
BASIC_TEXT, ENHANCED = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.88.22"
pytestmark = SOCKETS_LEFT


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_NETWORK_TIMEOUT_S", "5")
    monkeypatch.setattr("worker.doctor.ASK_EVERY_S", 0.05)


@pytest.fixture
def examine(command_line: CommandLine) -> Callable[..., dict[str, Any]]:
    """The doctor's JSON: verdict, words and advice by subject."""

    def asked(*words: str) -> dict[str, Any]:
        code, output, errors = command_line("doctor", "--json", *words)
        assert errors == ""
        found = json.loads(output)
        assert code == (0 if found["well"] else 1)
        found["by"] = {check["subject"]: check for check in found["checks"]}
        return dict(found)

    return asked


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc.running(tmp_path_factory.mktemp("orthanc"), dicomweb=True) as server:
        yield server


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made_in(tmp_path_factory.mktemp("tls") / "hospital")


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {subject: check["verdict"] for subject, check in found["by"].items()}


# Peers that are well


def test_orthanc_is_well_and_nothing_is_stored_unasked(examine: Any, orthanc: Orthanc) -> None:
    orthanc.empty()
    found = examine(f"ORTHANC@127.0.0.1:{orthanc.port}")
    assert set(verdicts(found).values()) == {"ok"}
    assert found["profile"] == "comprehensive-3d"
    assert all(all(syntaxes.values()) for syntaxes in found["accepted"].values())
    assert orthanc.instances() == found["to_delete"] == []


@pytest.mark.parametrize("way", ["DIMSE", "DICOMweb"])
def test_a_test_report_makes_the_round_trip_and_can_be_deleted(
    examine: Any, orthanc: Orthanc, way: str
) -> None:
    orthanc.empty()
    word = orthanc.dicomweb_url if way == "DICOMweb" else f"ORTHANC@127.0.0.1:{orthanc.port}"
    found = examine(word, "--send")
    assert {v for s, v in verdicts(found).items() if "test" in s} == {"ok"}
    tags = [orthanc.get(f"/instances/{name}/simplified-tags") for name in orthanc.instances()]
    assert sorted(tag["Modality"] for tag in tags) == ["OT", "SR"]
    assert {tag["PatientID"] for tag in tags} == {PATIENT_ID}
    assert {tag["SOPInstanceUID"] for tag in tags} == set(found["to_delete"])


def test_the_words_fit_80_columns_and_end_with_what_to_delete(
    command_line: CommandLine, orthanc: Orthanc
) -> None:
    code, output, _ = command_line("doctor", f"ORTHANC@127.0.0.1:{orthanc.port}", "--send")
    assert code == 0
    assert max(map(len, output.splitlines())) <= 90
    table, _, rest = output.partition(
        "To clean up, delete this study of the patient CXRWORKER-TEST in ORTHANC@"
    )
    assert "Comprehensive 3D SR" in table
    assert max(map(len, table.splitlines())) <= 80
    assert rest.count("2.25.") == 3
    assert output.endswith("All well.\n")
    code, output, _ = command_line("doctor", f"ORTHANC@127.0.0.1:{orthanc.port}")
    assert "Nothing was stored there." in output
    assert "--send" in output


def test_dcmtks_archive_is_examined_too(examine: Any, tmp_path: Path) -> None:
    with Dcmqrscp.running(tmp_path) as archive:
        found = examine(f"{archive.aet}@127.0.0.1:{archive.port}", "--send")
        other = examine(f"NOARCHIVE@127.0.0.1:{archive.port}")
    assert found["profile"] == "comprehensive-3d"
    assert verdicts(found)["test report, read back"] == "ok"
    assert verdicts(found)["commitment"] == "note"
    assert found["well"]
    assert other["by"]["association"]["verdict"] == "trouble"


def test_a_storage_server_alone_is_well_where_no_proof_is_wanted(examine: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pacs"
    folder.mkdir()
    with storescp(folder) as port:
        found = examine(f"ANY@127.0.0.1:{port}", "--send")
    assert found["well"]
    assert verdicts(found)["query"] == verdicts(found)["test report, read back"] == "note"
    assert len(list(folder.iterdir())) == 2


# Peers that refuse


@contextmanager
def rejecting(result: int, source: int, reason: int) -> Iterator[int]:
    def reject(event: Any) -> None:
        event.assoc.acse.send_reject(result, source, reason)
        event.assoc.is_rejected = True
        event.assoc.kill()

    entity = AE()
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, reject)])
    port = int(server.server_address[1])  # type: ignore[union-attr]
    try:
        yield port
    finally:
        end_server(server.shutdown, port)  # type: ignore[union-attr]


@pytest.mark.parametrize("result", [1, 2])
@pytest.mark.parametrize(("source", "reason"), REJECTIONS)
def test_each_rejection_has_its_words_and_its_box(
    examine: Any, result: int, source: int, reason: int
) -> None:
    with rejecting(result, source, reason) as port:
        check = examine(f"PACS@127.0.0.1:{port}")["by"]["association"]
    words, advice = REJECTIONS[source, reason]
    assert check["verdict"] == "trouble"
    assert check["words"] == f"rejected: {words}"
    assert check["advice"].startswith(advice)
    assert "we call PACS, as CXRWORKER" in check["advice"]


class RejectsOddly(BaseRequestHandler):
    """Answers by bytes: pynetdicom would not send a reason of another source."""

    def handle(self) -> None:
        # A connection that only tries the port says nothing.
        if self.request.recv(10_000):
            self.request.sendall(bytes.fromhex("030000000004") + bytes((0, 1, 2, 7)))


def test_a_rejection_that_the_standard_does_not_name_is_said_by_its_numbers(examine: Any) -> None:
    with TCPServer(("127.0.0.1", 0), RejectsOddly) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        found = examine(f"PACS@127.0.0.1:{server.server_address[1]}")
        server.shutdown()
    check = found["by"]["association"]
    assert "source 2, reason 7" in check["words"]


def test_the_profile_is_what_the_peer_takes(examine: Any) -> None:
    with ScriptedPacs.running(storable=(BASIC_TEXT, ENHANCED, SC)) as pacs:
        found = examine(f"PACS@127.0.0.1:{pacs.port}", "--send")
        assert (found["profile"], verdicts(found)["report"]) == ("enhanced", "ok")
        assert found["accepted"]["Comprehensive SR"] == {"Explicit VR LE": False, "Implicit VR LE": False}
        assert found["accepted"]["Enhanced SR"] == {"Explicit VR LE": True, "Implicit VR LE": True}
        assert {str(held.SOPClassUID) for held in pacs.held.values()} == {ENHANCED, SC}


@pytest.mark.parametrize(
    ("syntaxes", "form"),
    [((EXPLICIT_LE, RLELossless), "RLE Lossless"), ((EXPLICIT_LE, IMPLICIT_LE), "uncompressed")],
)
def test_the_form_of_the_heat_map_is_told(examine: Any, syntaxes: tuple[str, ...], form: str) -> None:
    with ScriptedPacs.running(syntaxes=syntaxes) as pacs:
        found = examine(f"PACS@127.0.0.1:{pacs.port}")
    assert found["by"]["heat map"]["words"] == f"would be sent as Secondary Capture, {form}"


def test_the_form_of_the_heat_map_follows_the_settings(examine: Any, tmp_path: Path) -> None:
    for syntax, form in ((JPEGBaseline8Bit, "JPEG Baseline"), (RLELossless, "uncompressed")):
        with ScriptedPacs.running(syntaxes=(EXPLICIT_LE, syntax)) as pacs:
            (tmp_path / "data" / "config.toml").write_text(
                f'[[destination]]\nname = "pacs"\naet = "PACS"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
                'pictures = "jpeg"\n'
            )
            found = examine("pacs")
        assert found["by"]["heat map"]["words"] == f"would be sent as Secondary Capture, {form}"


def test_what_the_settings_want_and_the_peer_has_not_is_trouble(examine: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pacs"
    folder.mkdir()
    with storescp(folder) as port:
        (tmp_path / "data" / "config.toml").write_text(
            f'[[destination]]\nname = "pacs"\naet = "PACS"\nhost = "127.0.0.1"\nport = {port}\n'
            'proof = "commitment"\n'
        )
        assert verdicts(examine("pacs"))["commitment"] == "trouble"
    with ScriptedPacs.running(storable=(BASIC_TEXT, ENHANCED, SC)) as pacs:
        (tmp_path / "data" / "config.toml").write_text(
            f'[[destination]]\nname = "pacs"\naet = "PACS"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
            'profile = "comprehensive"\n'
        )
        found = examine("pacs")
    assert verdicts(found)["report"] == "trouble"
    assert "tick Comprehensive SR among" in found["by"]["report"]["advice"]


@pytest.mark.parametrize("keeps", [True, False])
def test_what_is_stored_and_not_committed_is_trouble(examine: Any, tmp_path: Path, keeps: bool) -> None:
    with ScriptedPacs.running(storable=(BASIC_TEXT, SC)) as pacs:
        if not keeps:
            pacs.on_question = pacs.held.clear
        (tmp_path / "data" / "config.toml").write_text(
            f'[[destination]]\nname = "pacs"\naet = "PACS"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
            'proof = "commitment"\n'
        )
        check = examine("pacs", "--send")["by"]["commitment, asked"]
    expected = ("ok", "committed at once")
    if not keeps:
        expected = ("trouble", "answered: not committed, 0x0112 no such object instance")
    assert (check["verdict"], check["words"]) == expected


def test_neither_report_nor_heat_map_accepted_is_two_troubles(examine: Any) -> None:
    with ScriptedPacs.running(storable=(CR,)) as pacs:
        found = examine(f"PACS@127.0.0.1:{pacs.port}")
    assert verdicts(found)["report"] == verdicts(found)["heat map"] == "trouble"
    assert "tick Secondary Capture" in found["by"]["heat map"]["advice"]


def test_a_query_that_fails_is_told(examine: Any) -> None:
    with ScriptedPacs.running(find_status=0xC001) as pacs:
        found = examine(f"PACS@127.0.0.1:{pacs.port}")
    assert verdicts(found)["query"] == "note"
    assert "C-FIND failed: 0xC001" in found["by"]["query"]["words"]


def test_what_is_taken_and_not_listed_is_trouble(examine: Any) -> None:
    with ScriptedPacs.running(finds_nothing=True) as pacs:
        found = examine(f"PACS@127.0.0.1:{pacs.port}", "--send")
    assert verdicts(found)["test report"] == "ok"
    assert verdicts(found)["test report, read back"] == "trouble"
    assert len(found["to_delete"]) == 2


def test_what_was_not_stored_need_not_be_deleted(examine: Any) -> None:
    with ScriptedPacs.running(answers=deque([0x0124, 0xA900])) as pacs:
        found = examine(f"PACS@127.0.0.1:{pacs.port}", "--send")
    assert "0x0124" in found["by"]["test report"]["words"]
    assert found["by"]["test report"]["advice"] == "let our AE title or account store there"
    assert found["by"]["test heat map"]["advice"] == "accept this SOP class from us there"
    assert found["to_delete"] == []


# What is no DICOM peer


def test_a_port_where_nobody_listens(examine: Any) -> None:
    check = examine(f"PACS@127.0.0.1:{free_port()}")["by"]["connection"]
    assert "nobody listens" in check["words"]


def test_a_name_without_an_address(examine: Any) -> None:
    check = examine("PACS@no-such-host.invalid:104")["by"]["connection"]
    assert "has no address" in check["words"]


def test_a_port_that_speaks_http(examine: Any, orthanc: Orthanc) -> None:
    check = examine(f"PACS@127.0.0.1:{orthanc.http_port}", "--send")["by"]["association"]
    assert check["words"] == "the port speaks HTTP, not DICOM"
    assert "URL" in check["advice"]


def test_a_port_that_says_nothing(examine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_NETWORK_TIMEOUT_S", "0.5")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check = examine(f"PACS@127.0.0.1:{silent.getsockname()[1]}")["by"]["association"]
    assert "no answer to the association request" in check["words"]


# TLS


@pytest.fixture(scope="module")
def secured(hospital: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    files = hospital.certify("pacs", days=60)
    options = ("+tls", str(files.key), str(files.certificate), "+cf", str(files.ca))
    with storescp(tmp_path_factory.mktemp("tls"), *options) as port:
        yield port


def test_tls_shows_version_and_certificate(examine: Any, hospital: Authority, secured: int) -> None:
    ours = hospital.certify("worker")
    files = ("--ca", str(ours.ca), "--certificate", str(ours.certificate), "--key", str(ours.key))
    found = examine(f"PACS@127.0.0.1:{secured}", *files)
    assert verdicts(found)["TLS"] == verdicts(found)["association"] == "ok"
    shown = found["handshake"]
    assert shown["version"].startswith("TLSv1.")
    assert (shown["subject"], shown["issuer"]) == ("commonName=pacs", "commonName=hospital")
    assert "IP Address:127.0.0.1" in shown["names"]


def test_a_peer_that_wants_our_certificate_is_told_apart(
    examine: Any, hospital: Authority, secured: int
) -> None:
    found = examine(f"PACS@127.0.0.1:{secured}", "--ca", str(hospital.ca))
    troubles = [check for check in found["checks"] if check["verdict"] == "trouble"]
    assert len(troubles) == 1
    assert "certificate" in troubles[0]["words"] + troubles[0]["advice"]


def test_plain_dicom_to_a_tls_port_and_tls_to_a_plain_port(
    examine: Any, hospital: Authority, secured: int, orthanc: Orthanc
) -> None:
    check = examine(f"PACS@127.0.0.1:{secured}")["by"]["association"]
    assert check["words"] == "the port speaks TLS"
    check = examine(f"PACS@127.0.0.1:{orthanc.port}", "--tls")["by"]["TLS"]
    assert check["verdict"] == "trouble"
    assert "off here" in check["advice"]


@pytest.mark.parametrize(
    ("certificate", "words"),
    [({"days": -1}, "certificate has expired"), ({"names": "IP:127.0.0.9"}, "not valid for '127.0.0.1'")],
)
def test_a_certificate_that_has_expired_or_names_another_host(
    examine: Any, hospital: Authority, certificate: dict[str, Any], words: str
) -> None:
    server = server_context(hospital.certify("odd", **certificate), require_client_certificate=False)
    with ScriptedWeb.running(tls=server, body=b"[]") as web:
        found = examine(web.url, "--ca", str(hospital.ca))
    assert verdicts(found)["TLS"] == "trouble"
    assert words in found["by"]["TLS"]["words"]


def test_a_certificate_that_expires_soon_is_noted(examine: Any, hospital: Authority) -> None:
    server = server_context(hospital.certify("soon", days=3), require_client_certificate=False)
    with ScriptedWeb.running(tls=server, body=b"[]") as web:
        found = examine(f"https://127.0.0.1:{web.port}/dicom-web", "--ca", str(hospital.ca))
    assert found["well"]
    assert "expires in 2 days" in found["by"]["TLS"]["words"]
    assert ssl.cert_time_to_seconds(found["handshake"]["not_after"])


# DICOMweb


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (401, "credentials"),
        (403, "may not query"),
        (404, "no QIDO-RS"),
        (400, "not understood"),
        (503, "trouble"),
    ],
)
def test_a_web_server_that_refuses(examine: Any, code: int, words: str) -> None:
    with ScriptedWeb.running(code=code) as web:
        check = examine(web.url)["by"]["QIDO-RS"]
    assert check["verdict"] == "trouble"
    assert f"HTTP {code}" in check["words"]
    assert words in check["words"]


def test_a_web_server_that_is_no_dicomweb(examine: Any) -> None:
    with ScriptedWeb.running(body=b"<html>", media_type="text/html") as web:
        check = examine(web.url)["by"]["QIDO-RS"]
    assert check["words"] == "expected DICOM JSON, got something else"
