"""TLS contexts: what they demand of files, and what they refuse of a peer, by real handshakes."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from certificates import Authority

from dicom_io.errors import BadTlsFiles
from dicom_io.tls import TlsFiles, client_context, failure_words, server_context


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made_in(tmp_path_factory.mktemp("tls") / "hospital")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made_in(tmp_path_factory.mktemp("tls") / "stranger")


@pytest.fixture(scope="module")
def listener(hospital: Authority) -> TlsFiles:
    return hospital.certify("listener")


@pytest.fixture(scope="module")
def modality(hospital: Authority) -> TlsFiles:
    return hospital.certify("modality")


def handshake(server: ssl.SSLContext, client: Callable[[socket.socket], object]) -> str:
    """Let a client meet the server; returns the server's words, "" for a handshake that came about."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        calling = socket.create_connection(listening.getsockname(), timeout=10)
        accepted, _ = listening.accept()
    accepted.settimeout(10)
    words = "no answer"

    def serve() -> None:
        nonlocal words
        try:
            with server.wrap_socket(accepted, server_side=True) as secured:
                secured.send(b"!")
            words = ""
        except OSError as error:
            words = failure_words(error)
            accepted.close()

    thread = Thread(target=serve)
    thread.start()
    try:
        client(calling)
    except OSError:
        pass
    finally:
        calling.close()
        thread.join(20)
    return words


def calls_with(context: ssl.SSLContext, hostname: str = "127.0.0.1") -> Callable[[socket.socket], object]:
    def call(calling: socket.socket) -> None:
        with context.wrap_socket(calling, server_hostname=hostname) as secured:
            secured.recv(1)

    return call


def test_both_sides_with_certificates_of_one_authority_meet(listener: TlsFiles, modality: TlsFiles) -> None:
    server = server_context(listener, require_client_certificate=True)
    assert handshake(server, calls_with(client_context(modality))) == ""


def test_a_client_without_a_certificate_is_refused_only_where_one_is_required(listener: TlsFiles) -> None:
    anonymous = client_context(TlsFiles(ca=listener.ca))
    required = server_context(listener, require_client_certificate=True)
    assert "the peer sent none" in handshake(required, calls_with(anonymous))
    open_to_all = server_context(listener, require_client_certificate=False)
    assert handshake(open_to_all, calls_with(anonymous)) == ""


def test_a_certificate_that_has_expired_or_is_of_a_stranger_is_refused(
    hospital: Authority, stranger: Authority, listener: TlsFiles
) -> None:
    server = server_context(listener, require_client_certificate=True)
    expired = hospital.certify("expired", days=-1)
    assert "expired" in handshake(server, calls_with(client_context(expired)))
    foreign = stranger.certify("foreign")
    calling = client_context(TlsFiles(listener.ca, foreign.certificate, foreign.key))
    assert "of the authorities in `ca`" in handshake(server, calls_with(calling))


def test_a_client_refuses_a_server_of_another_authority_or_another_name(
    stranger: Authority, listener: TlsFiles
) -> None:
    server = server_context(listener, require_client_certificate=False)
    foreign = client_context(TlsFiles(ca=stranger.ca))
    assert "does not know the authority" in handshake(server, calls_with(foreign))
    known = TlsFiles(ca=listener.ca)
    assert handshake(server, calls_with(client_context(known), "pacs.example")) != ""
    by_address = client_context(known, check_hostname=False)
    assert handshake(server, calls_with(by_address, "pacs.example")) == ""


def test_an_older_version_and_a_weak_cipher_are_refused(listener: TlsFiles) -> None:
    server = server_context(listener, require_client_certificate=False)
    weak = client_context(TlsFiles(ca=listener.ca))
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("ECDHE-RSA-AES256-SHA384")
    assert "cipher suite" in handshake(server, calls_with(weak))
    assert server.minimum_version == ssl.TLSVersion.TLSv1_2
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    assert "older version" in handshake(server, calls_with(old))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"\x01\x00\x00\x00\x00\xcd\x00\x01" + bytes(200), "plain DICOM"),
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP"),
        (b"", "closed the connection"),
    ],
)
def test_a_peer_that_speaks_something_else_is_told_apart(listener: TlsFiles, said: bytes, words: str) -> None:
    server = server_context(listener, require_client_certificate=False)

    def speak(calling: socket.socket) -> None:
        calling.sendall(said)
        calling.shutdown(socket.SHUT_WR)
        calling.recv(1)

    assert words in handshake(server, speak)


def test_files_that_cannot_be_used_are_named_with_what_was_expected(
    tmp_path: Path, listener: TlsFiles, modality: TlsFiles
) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(BadTlsFiles, match=r"certificate .*missing.pem: expected a readable PEM file"):
        server_context(TlsFiles(listener.ca, missing, listener.key), require_client_certificate=False)
    with pytest.raises(BadTlsFiles, match=r"ca .*missing.pem: expected a readable PEM file"):
        client_context(TlsFiles(ca=missing))
    with pytest.raises(BadTlsFiles, match="private key, not encrypted: KEY_VALUES_MISMATCH"):
        client_context(TlsFiles(listener.ca, listener.certificate, modality.key))
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    with pytest.raises(BadTlsFiles, match="expected PEM certificates of authorities"):
        client_context(TlsFiles(ca=text))
    with pytest.raises(BadTlsFiles, match="none is named"):
        server_context(TlsFiles(ca=listener.ca), require_client_certificate=False)
    with pytest.raises(BadTlsFiles, match="authorities of the clients, none is named"):
        server_context(TlsFiles(None, listener.certificate, listener.key), require_client_certificate=True)
    with pytest.raises(BadTlsFiles, match="expected a certificate beside it"):
        client_context(TlsFiles(key=listener.key))


def test_an_encrypted_key_is_an_error_and_never_a_question(hospital: Authority, listener: TlsFiles) -> None:
    locked = hospital.folder / "locked.key"
    hospital.openssl("rsa", "-in", str(listener.key), "-aes128", "-passout", "pass:1234", "-out", str(locked))
    with pytest.raises(BadTlsFiles, match="not encrypted"):
        server_context(TlsFiles(None, listener.certificate, locked), require_client_certificate=False)
