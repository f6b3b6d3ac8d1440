"""Settings of the port: its TLS table, retention, and what stops at start when a file is missing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from builders import build_film, to_bytes
from certificates import Authority
from parts import free_port
from scripted_pacs import end_server
from sqlalchemy import Engine

from dicom_io import scu
from worker import own_port
from worker import settings as worker_settings
from worker.cli import status
from worker.context import Context
from worker.receiver import Receiver, tls_of
from worker.settings import Listener, ListenerTls, Sender, Settings, SettingsError

CommandLine = Callable[..., tuple[int, str, str]]


def load(text: str, tmp_path: Path, **environment: str) -> Settings:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    return worker_settings.load({"CXR_CONFIG": str(file), **environment}).settings


def test_the_port_is_plain_and_commits_to_nothing_by_default() -> None:
    made = Settings()
    assert made.listener.tls is None
    assert tls_of(made) is None
    assert (made.listener.accept_any_storage, made.listener.commitment, made.retention) == (False, False, 30)


def test_the_tls_table_is_read_from_the_file_and_the_environment(tmp_path: Path) -> None:
    text = '[listener.tls]\ncertificate = "a.pem"\nkey = "a.key"\nca = "ca.pem"'
    made = load(text, tmp_path, CXR_LISTENER_TLS_KEY="b.key", CXR_LISTENER_PORT="104")
    assert made.listener.tls == ListenerTls(certificate=Path("a.pem"), key=Path("b.key"), ca=Path("ca.pem"))
    assert made.listener.tls.require_client_certificate
    assert made.listener.port == 104
    environment = {
        "CXR_LISTENER_TLS_CERTIFICATE": "c.pem",
        "CXR_LISTENER_TLS_REQUIRE_CLIENT_CERTIFICATE": "false",
    }
    made = load("", tmp_path, **environment)
    assert made.listener.tls == ListenerTls(certificate=Path("c.pem"), require_client_certificate=False)


def test_a_tls_table_that_is_none_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"listener\.tls\.certificate"):
        load('[listener.tls]\nkey = "a.key"', tmp_path)
    with pytest.raises(SettingsError, match=r"listener\.tls\.cert .*no such setting"):
        load('[listener.tls]\ncertificate = "a.pem"\ncert = "a.pem"', tmp_path)
    with pytest.raises(SettingsError, match=r"expected a table"):
        load("[listener]\ntls = true", tmp_path, CXR_LISTENER_TLS_KEY="a.key")


@pytest.mark.parametrize("value", ["0", "-1", "3651", "for ever", "1.5", "KEEP"])
def test_retention_is_keep_or_whole_days(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError, match=r'retention .*expected "keep", or whole days from 1 to 3650'):
        load("", tmp_path, CXR_RETENTION=value)


def test_retention_is_read_as_text_and_as_number(tmp_path: Path) -> None:
    assert load("retention = 90", tmp_path).retention == 90
    assert load('retention = "keep"', tmp_path).retention == "keep"
    assert load("", tmp_path, CXR_RETENTION="7").retention == 7
    with pytest.raises(SettingsError, match="retention"):
        load("retention = true", tmp_path)


def test_config_prints_the_inner_table_key_by_key(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_LISTENER_TLS_CERTIFICATE", "a.pem")
    code, output, _ = command_line("config")
    assert code == 0
    lines = [line.split() for line in output.splitlines()]
    assert [
        "listener.tls.certificate",
        '"a.pem"',
        "#",
        "environment",
        "CXR_LISTENER_TLS_CERTIFICATE",
    ] in lines
    assert ["retention", "30", "#", "default"] in lines


@pytest.mark.parametrize("command", ["listen", "up"])
def test_a_missing_certificate_stops_at_start_in_words(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.setenv("CXR_LISTENER_PORT", str(free_port()))
    monkeypatch.setenv("CXR_LISTENER_TLS_CERTIFICATE", str(tmp_path / "missing.pem"))
    monkeypatch.setenv("CXR_LISTENER_TLS_REQUIRE_CLIENT_CERTIFICATE", "false")
    code, _, errors = command_line(command)
    assert code == 2
    assert "cxr-worker: [listener.tls] certificate" in errors
    assert "missing.pem: expected a readable PEM file" in errors


@pytest.mark.parametrize(
    ("mutual", "names_ca"),
    [(True, True), (False, True), (False, False)],
    ids=["mutual", "one-sided", "without authorities"],
)
def test_our_own_commands_reach_our_port_over_tls(
    tmp_path: Path, sqlite_engine: Engine, mutual: bool, names_ca: bool
) -> None:
    files = Authority.made_in(tmp_path / "hospital").certify("listener")
    assert files.certificate is not None
    tls = ListenerTls(
        certificate=files.certificate,
        key=files.key,
        ca=files.ca if names_ca else None,
        require_client_certificate=mutual,
    )
    made = Settings(
        data=tmp_path / "data", listener=Listener(port=free_port(), tls=tls), sender=(Sender(aet="CR1"),)
    )
    listener = Receiver(made, sqlite_engine, lambda: None).listener()
    listener.start()
    try:
        state = status.collect(Context(made, sqlite_engine))
        assert state["listener"]["answers"] is True
        film = tmp_path / "film.dcm"
        film.write_bytes(to_bytes(build_film()))
        answer = scu.send_file(own_port.target(made, "CR1"), film)
        rejections = status.collect(Context(made, sqlite_engine))["rejections"]
    finally:
        end_server(listener.stop, made.listener.port)
    assert answer.status == 0x0000
    assert rejections == []


@pytest.mark.parametrize(
    ("host", "sender"),
    [("::1", Sender(aet="CR1", host="10.0.0.1")), ("::", Sender(aet="CR1", host="127.0.0.1"))],
)
def test_a_port_of_ipv6_is_seen_to_be_open(
    tmp_path: Path, sqlite_engine: Engine, host: str, sender: Sender
) -> None:
    """On `::1` nobody is admitted from here, so that the port is tried; on `::` an IPv4 host is known."""
    made = Settings(data=tmp_path, listener=Listener(host=host, port=free_port()), sender=(sender,))
    listener = Receiver(made, sqlite_engine, lambda: None).listener()
    listener.start()
    try:
        found = status.collect(Context(made, sqlite_engine))
    finally:
        end_server(listener.stop, made.listener.port)
    assert found["listener"]["answers"] is True
    assert found["rejections"] == []


def test_asking_for_client_certificates_takes_authorities(tmp_path: Path) -> None:
    files = Authority.made_in(tmp_path / "hospital").certify("listener")
    assert files.certificate is not None
    tls = ListenerTls(certificate=files.certificate, key=files.key)
    with pytest.raises(SettingsError, match=r"\[listener.tls\] ca: expected a PEM file with the authorities"):
        tls_of(Settings(listener=Listener(tls=tls)))
    assert tls_of(Settings(listener=Listener(tls=tls.model_copy(update={"ca": files.ca})))) is not None
