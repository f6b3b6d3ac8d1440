"""STOW-RS and QIDO-RS, against Orthanc's plug-in and against a server that answers what the test tells it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import build_film, build_secondary_capture, to_bytes
from certificates import Authority
from parts import Orthanc, free_port
from pydicom import FileDataset
from scripted_web import DRIP, DROP, ScriptedWeb

from dicom_io import dicomweb, webclient
from dicom_io.dicomweb import WebTarget
from dicom_io.errors import DestinationError, Unanswered, Unreachable
from dicom_io.scu import Identity, Outcome
from dicom_io.tls import TlsFiles, server_context

PATIENT_ID = "STRANGER-1"
TIMEOUT_S = 5.0


@pytest.fixture(scope="module")
def web_pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc.running(tmp_path_factory.mktemp("dicomweb"), dicomweb=True) as server:
        yield server


def identity_of(dataset: FileDataset, **other: str) -> Identity:
    held = {
        "sop_class_uid": str(dataset.SOPClassUID),
        "sop_instance_uid": str(dataset.SOPInstanceUID),
        "series_instance_uid": str(dataset.SeriesInstanceUID),
        "study_instance_uid": str(dataset.StudyInstanceUID),
        "patient_id": str(dataset.PatientID),
    }
    return Identity(**{**held, **other})


def target_of(web: ScriptedWeb, **more: Any) -> WebTarget:
    return WebTarget(web.url, TIMEOUT_S, **more)


FILM = build_secondary_capture(PatientID=PATIENT_ID)
ENCODED = to_bytes(FILM)
IDENTITY = identity_of(FILM)


def sequence(keyword_tag: str, reason_tag: str, reason: int | None) -> bytes:
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [str(FILM.SOPInstanceUID)]}}
    if reason is not None:
        item[reason_tag] = {"vr": "US", "Value": [reason]}
    return json.dumps({keyword_tag: {"vr": "SQ", "Value": [item]}}).encode()


def failed(reason: int | None) -> bytes:
    return sequence("00081198", "00081197", reason)


def stored(reason: int | None = None) -> bytes:
    return sequence("00081199", "00081196", reason)


# With a real PACS


def test_a_result_goes_to_orthanc_by_stow_and_is_found_by_qido(web_pacs: Orthanc) -> None:
    film = build_film(PatientID=PATIENT_ID)
    target = WebTarget(web_pacs.dicomweb_url, TIMEOUT_S)
    assert dicomweb.find_by_qido(target, identity_of(film)) is None
    answer = dicomweb.stow(target, to_bytes(film))
    assert (answer.outcome, answer.status) == (Outcome.SENT, 0x0000)
    assert dicomweb.find_by_qido(target, identity_of(film)) == ()
    assert dicomweb.find_by_qido(target, identity_of(film, patient_id="ANOTHER")) == ("PatientID",)
    with pytest.raises(DestinationError, match="another class"):
        dicomweb.find_by_qido(target, identity_of(film, sop_class_uid="1.2.840.10008.5.1.4.1.1.7"))


def test_the_bytes_that_are_sent_are_the_stored_ones(web_pacs: Orthanc) -> None:
    encoded = to_bytes(build_film())
    with ScriptedWeb.running(body=stored()) as web:
        dicomweb.stow(target_of(web), encoded)
    request = web.requests[0]
    assert encoded in request.body
    assert request.headers["Content-Length"] == str(len(request.body))
    assert request.headers["Host"] == f"127.0.0.1:{web.port}"
    assert request.headers["Accept"] == "application/dicom+json"


# Answers to STOW-RS


@pytest.mark.parametrize(
    ("code", "body", "outcome", "status"),
    [
        (200, stored(), Outcome.SENT, 0x0000),
        (202, stored(0xB000), Outcome.SENT, 0xB000),
        (202, stored(0x1234), Outcome.SENT, 0x1234),
        (202, stored(), Outcome.SENT, 0x0000),
        (202, failed(0xA700), Outcome.AGAIN, 0xA700),
        (200, failed(0x0122), Outcome.NEVER, 0x0122),
        (200, failed(0x0000), Outcome.AGAIN, 0x0110),
        (409, failed(0xB000), Outcome.AGAIN, 0xB000),
        (409, failed(0x0110), Outcome.AGAIN, 0x0110),
        (409, failed(0x0111), Outcome.DUPLICATE, 0x0111),
        (409, failed(0xA900), Outcome.NEVER, 0xA900),
        (409, failed(0xC122), Outcome.AGAIN_FOR_A_DAY, 0xC122),
        (409, failed(None), Outcome.AGAIN, 0x0110),
        (409, b"", Outcome.AGAIN_FOR_A_DAY, 0xC000),
        (409, b"{", Outcome.AGAIN_FOR_A_DAY, 0xC000),
        (400, b"", Outcome.AGAIN_FOR_A_DAY, 0xC000),
        (401, b"", Outcome.AGAIN_ALARM, 0x0124),
        (403, b"", Outcome.AGAIN_ALARM, 0x0124),
        (404, b"", Outcome.AGAIN_ALARM, 0x0110),
        (413, b"", Outcome.AGAIN_ALARM, 0xA700),
        (415, b"", Outcome.NEVER, 0x0122),
        (429, b"", Outcome.AGAIN, 0xA700),
        (500, b"", Outcome.AGAIN, 0x0110),
        (503, b"", Outcome.AGAIN, 0x0110),
        (507, b"", Outcome.AGAIN, 0xA700),
        (299, stored(), Outcome.AGAIN, 0x0110),
    ],
)
def test_an_answer_is_read_by_the_table(code: int, body: bytes, outcome: Outcome, status: int) -> None:
    with ScriptedWeb.running(code=code, body=body) as web:
        answer = dicomweb.stow(target_of(web), ENCODED)
    assert (answer.outcome, answer.status) == (outcome, status)
    assert f"HTTP {code}" in answer.words
    assert len(web.requests) == 1, "sent again on its own"


@pytest.mark.parametrize("space", ["", ' xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"'])
@pytest.mark.parametrize(
    ("code", "sequence", "keyword", "reason", "outcome"),
    [
        (409, "FailedSOPSequence", "FailureReason", 0x0122, Outcome.NEVER),
        (202, "ReferencedSOPSequence", "WarningReason", 0xB006, Outcome.SENT),
    ],
)
def test_an_answer_in_xml_is_read_too(
    space: str, code: int, sequence: str, keyword: str, reason: int, outcome: Outcome
) -> None:
    body = (
        f'<NativeDicomModel{space}><DicomAttribute vr="SQ" keyword="{sequence}"><Item number="1">'
        f'<DicomAttribute tag="00081197" vr="US" keyword="{keyword}"><Value number="1">{reason}</Value>'
        "</DicomAttribute></Item></DicomAttribute></NativeDicomModel>"
    )
    with ScriptedWeb.running(code=code, body=body.encode(), media_type="application/dicom+xml") as web:
        answer = dicomweb.stow(target_of(web), ENCODED)
    assert (answer.status, answer.outcome) == (reason, outcome)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("text/html", b"<html>Please log in</html>"),
        ("application/json", b'"ok"'),
        ("application/json", b"{"),
        ("application/dicom+json", b""),
        ("", b""),
    ],
)
def test_a_success_that_is_no_dicom_answer_is_none(media_type: str, body: bytes) -> None:
    with (
        ScriptedWeb.running(body=body, media_type=media_type) as web,
        pytest.raises(Unanswered, match="expected"),
    ):
        dicomweb.stow(target_of(web), ENCODED)


def test_the_media_type_may_have_parameters() -> None:
    with ScriptedWeb.running(
        code=409, body=failed(0xA900), media_type="application/dicom+json; charset=utf-8"
    ) as web:
        assert dicomweb.stow(target_of(web), ENCODED).outcome == Outcome.NEVER


# What HTTP can do to us


def test_the_password_goes_along_and_is_shown_nowhere() -> None:
    with ScriptedWeb.running(code=401) as web:
        target = target_of(web, headers={"Authorization": "Bearer secret"})
        answer = dicomweb.stow(target, ENCODED)
    assert web.requests[0].headers["Authorization"] == "Bearer secret"
    assert "secret" not in repr(target) + answer.text


def test_a_redirect_is_not_followed() -> None:
    with (
        ScriptedWeb.running() as other,
        ScriptedWeb.running(code=307, headers={"Location": other.url}) as web,
        pytest.raises(DestinationError, match="redirect"),
    ):
        dicomweb.stow(target_of(web), ENCODED)
    assert not other.requests


def test_nobody_listening_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="nobody answers"):
        dicomweb.stow(WebTarget(f"http://127.0.0.1:{free_port()}/dicom-web", TIMEOUT_S), ENCODED)


def test_a_connection_that_breaks_is_unanswered() -> None:
    with ScriptedWeb.running(code=DROP) as web, pytest.raises(Unanswered, match="broke"):
        dicomweb.stow(target_of(web), ENCODED)


def test_an_answer_without_end_meets_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webclient, "MAX_ANSWER_TIMEOUTS", 0.02)
    with ScriptedWeb.running(code=DRIP) as web, pytest.raises(Unanswered, match="takes longer"):
        dicomweb.stow(target_of(web), ENCODED)


def test_a_huge_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webclient, "MAX_ANSWER_BYTES", 1000)
    with (
        ScriptedWeb.running(body=b" " * 2000) as web,
        pytest.raises(Unanswered, match="an answer of more than"),
    ):
        dicomweb.stow(target_of(web), ENCODED)


def test_only_a_certificate_of_our_authorities_is_believed(tmp_path: Path) -> None:
    hospital = Authority.made_in(tmp_path / "hospital")
    server = server_context(hospital.certify("pacs"), require_client_certificate=True)
    ours = hospital.certify("worker")
    with ScriptedWeb.running(tls=server, body=stored()) as web:
        for files, words in (
            (TlsFiles(), "TLS failed: .*certificate"),
            (TlsFiles(Authority.made_in(tmp_path / "stranger").certify("x").ca), "TLS failed: .*certificate"),
        ):
            with pytest.raises(Unreachable, match=words):
                dicomweb.stow(target_of(web, tls=files), ENCODED)
        with pytest.raises(DestinationError):
            dicomweb.stow(target_of(web, tls=TlsFiles(ours.ca)), ENCODED)
        assert not web.requests
        assert dicomweb.stow(target_of(web, tls=ours), ENCODED).outcome == Outcome.SENT
    with ScriptedWeb.running() as web, pytest.raises(Unreachable, match="TLS failed"):
        dicomweb.stow(WebTarget(web.url.replace("http:", "https:"), TIMEOUT_S, tls=ours), ENCODED)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://pacs/dicom-web",
        "http:///dicom-web",
        "http://user:secret@pacs/",
        "http://pacs/?a=b",
        "pacs:8042",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="expected") as refusal:
        WebTarget(url)
    assert "secret" not in str(refusal.value)


# Answers to QIDO-RS


def test_a_404_is_asked_again_over_all_since_it_is_also_a_wrong_address() -> None:
    series = f"/dicom-web/studies/{FILM.StudyInstanceUID}"
    with ScriptedWeb.running(answers={series: (404, "text/plain", b"")}, body=b"[]") as web:
        assert dicomweb.find_by_qido(target_of(web), IDENTITY) is None
        assert len(web.requests) == 2
    with ScriptedWeb.running(code=404) as web, pytest.raises(DestinationError, match="HTTP 404"):
        dicomweb.find_by_qido(target_of(web), IDENTITY)


def test_no_content_is_not_found() -> None:
    with ScriptedWeb.running(code=204) as web:
        assert dicomweb.find_by_qido(target_of(web), IDENTITY) is None
    # At instance level a server may leave the patient out, unless it is asked.
    assert "includefield=PatientID" in web.requests[0].path


NESTED = b"[" * 100_000
"""More than any parser follows."""


@pytest.mark.parametrize("body", [b"{", b"[7]", b'[{"00080018": 1}]', b"7", b"<html>", NESTED])
def test_an_answer_that_is_no_dicom_json_is_an_error(body: bytes) -> None:
    with ScriptedWeb.running(body=body) as web, pytest.raises(DestinationError, match="expected DICOM"):
        dicomweb.find_by_qido(target_of(web), IDENTITY)


def test_an_answer_nested_without_end_is_none_to_a_send() -> None:
    with ScriptedWeb.running(body=NESTED) as web, pytest.raises(Unanswered, match="Store Instances Response"):
        dicomweb.stow(target_of(web), ENCODED)


def test_another_instance_in_the_answer_is_not_ours() -> None:
    other = json.dumps([{"00080018": {"vr": "UI", "Value": ["1.2.3"]}}]).encode()
    with ScriptedWeb.running(body=other) as web:
        assert dicomweb.find_by_qido(target_of(web), IDENTITY) is None


def test_no_error_names_the_patient_or_the_object() -> None:
    for code in (401, 500, DROP):
        with ScriptedWeb.running(code=code) as web, pytest.raises(DestinationError) as refusal:
            dicomweb.find_by_qido(target_of(web), IDENTITY)
        assert PATIENT_ID not in str(refusal.value)
        assert str(FILM.SOPInstanceUID) not in str(refusal.value)
