"""Calling a peer over TLS, and in words why no association came about."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import build_film, to_bytes
from certificates import Authority
from parts import TLS_SOCKETS_LEFT
from scripted_pacs import ScriptedPacs

from dicom_io import scu
from dicom_io.association import Target
from dicom_io.errors import Unreachable
from dicom_io.scu import Outcome
from dicom_io.tls import TlsFiles, server_context

pytestmark = TLS_SOCKETS_LEFT


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made_in(tmp_path_factory.mktemp("tls") / "hospital")


@pytest.fixture(scope="module")
def client(hospital: Authority) -> TlsFiles:
    return hospital.certify("client")


@pytest.fixture(scope="module")
def pacs(hospital: Authority) -> Iterator[ScriptedPacs]:
    """It asks for a client certificate of the hospital."""
    tls = server_context(hospital.certify("pacs"), require_client_certificate=True)
    with ScriptedPacs.running(tls=tls) as running:
        yield running


def target(port: int, tls: TlsFiles | None, host: str = "127.0.0.1", *, check: bool = True) -> Target:
    return Target("PACS", host, port, "CXRWORKER", 5, tls, check_hostname=check)


def trouble(called: Target) -> str:
    with pytest.raises(Unreachable) as caught:
        scu.store(called, to_bytes(build_film()))
    assert caught.value.args[0].startswith(called.name)
    return str(caught.value)


def test_an_object_arrives_over_tls_and_can_be_asked_for(pacs: ScriptedPacs, client: TlsFiles) -> None:
    film = build_film()
    assert scu.store(target(pacs.port, client), to_bytes(film)).outcome == Outcome.SENT
    assert pacs.held[film.SOPInstanceUID] == film
    assert scu.echo(target(pacs.port, client))


def test_a_client_without_a_certificate_is_told_so(pacs: ScriptedPacs, hospital: Authority) -> None:
    """With TLS 1.3 the peer says it after the handshake, and nothing at all in pynetdicom's answer."""
    words = trouble(target(pacs.port, TlsFiles(hospital.ca)))
    assert "TLS failed" in words
    assert "certificate" in words.lower()


def test_a_client_of_an_unknown_authority_is_told_so(
    pacs: ScriptedPacs, hospital: Authority, tmp_path: Path
) -> None:
    stranger = Authority.made_in(tmp_path / "stranger").certify("stranger")
    files = TlsFiles(hospital.ca, stranger.certificate, stranger.key)
    assert "the peer does not know the authority of our certificate" in trouble(target(pacs.port, files))


def test_a_peer_of_an_unknown_authority_is_not_believed(
    pacs: ScriptedPacs, client: TlsFiles, tmp_path: Path
) -> None:
    other = Authority.made_in(tmp_path / "other")
    files = TlsFiles(other.ca, client.certificate, client.key)
    assert "expected a certificate of the authorities in `ca`" in trouble(target(pacs.port, files))


def test_a_peer_whose_certificate_has_expired_is_not_believed(hospital: Authority, client: TlsFiles) -> None:
    tls = server_context(hospital.certify("old", days=-1), require_client_certificate=False)
    with ScriptedPacs.running(tls=tls) as old:
        assert "certificate has expired" in trouble(target(old.port, client))


def test_a_peer_under_another_name_is_not_believed_unless_told(pacs: ScriptedPacs, client: TlsFiles) -> None:
    # 127.1 leads there as 127.0.0.1 does, and no certificate names it.
    called = target(pacs.port, client, "127.1")
    assert "127.1" in trouble(called).partition("TLS failed")[2]
    film = to_bytes(build_film())
    unchecked = target(pacs.port, client, "127.1", check=False)
    assert scu.store(unchecked, film).outcome == Outcome.SENT


def test_a_peer_that_speaks_no_tls_is_told_so(client: TlsFiles) -> None:
    with ScriptedPacs.running() as plain:
        words = trouble(target(plain.port, client))
    assert "TLS failed: expected" in words


def test_a_peer_that_says_nothing_to_a_handshake_is_told_so(client: TlsFiles) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        called = Target("PACS", "127.0.0.1", silent.getsockname()[1], "CXRWORKER", 1, client)
        assert "the peer was silent" in trouble(called)


def test_certificates_that_cannot_be_used_make_the_peer_unreachable(tmp_path: Path) -> None:
    words = trouble(target(104, TlsFiles(tmp_path / "nowhere.pem")))
    assert f"ca {tmp_path / 'nowhere.pem'}: expected a readable PEM file" in words


def test_nobody_at_a_tls_port_is_nobody(client: TlsFiles) -> None:
    with ScriptedPacs.running() as gone:
        pass
    assert "nobody answers" in trouble(target(gone.port, client))
