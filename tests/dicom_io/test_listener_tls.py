"""The listener's port over TLS, called by dcmtk: who may come in, who is turned away, and that it is told."""

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext

import pytest
from builders import build_film, to_bytes
from certificates import Authority
from parts import free_port, need, wait_until
from scripted_pacs import end_server

from dicom_io import scu
from dicom_io.association import Target
from dicom_io.scp import ListenerAddress, Peer, ReceivedInstance, StorageListener, StoreStatus
from dicom_io.tls import TlsFiles, server_context


@dataclass
class Site:
    """A listener on a TLS port, and a film to be sent there."""

    folder: Path
    tls: SSLContext
    port: int = field(default_factory=free_port)
    stored: list[bytes] = field(default_factory=list)
    turned_away: list[tuple[Peer, str, str]] = field(default_factory=list)

    def listener(self) -> StorageListener:
        return StorageListener(
            ListenerAddress("CXRWORKER", "127.0.0.1", self.port, tls=self.tls),
            self.folder,
            admit=lambda peer: peer.aet == "STORESCU",
            store=self.store,
            refused=lambda *words: self.turned_away.append(words),
        )

    def store(self, instance: ReceivedInstance) -> StoreStatus:
        self.stored.append(instance.path.read_bytes())
        return StoreStatus.SUCCESS

    def storescu(self, film: Path, *options: str) -> int:
        command = [need("storescu", "dcmtk"), *options, "-aec", "CXRWORKER", "127.0.0.1", str(self.port)]
        return subprocess.run([*command, str(film)], capture_output=True, check=False, timeout=60).returncode

    def reason(self) -> str:
        """Why the last one was turned away; the listener may write it after the sender has gone."""
        ((peer, reason, words),) = wait_until(lambda: self.turned_away, "the rejection to be recorded")
        assert (peer, reason) == (Peer("", "127.0.0.1"), "tls")
        return words


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made_in(tmp_path_factory.mktemp("tls") / "hospital")


@pytest.fixture(scope="module")
def modality(hospital: Authority) -> TlsFiles:
    return hospital.certify("modality")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("film") / "film.dcm"
    file.write_bytes(to_bytes(build_film()))
    return file


def served(tmp_path: Path, hospital: Authority, *, mutual: bool) -> Iterator[Site]:
    tls = server_context(hospital.certify("listener"), require_client_certificate=mutual)
    site = Site(tmp_path, tls)
    listener = site.listener()
    listener.start()
    yield site
    end_server(listener.stop, site.port)


@pytest.fixture
def mutual(tmp_path: Path, hospital: Authority) -> Iterator[Site]:
    yield from served(tmp_path, hospital, mutual=True)


@pytest.fixture
def one_sided(tmp_path: Path, hospital: Authority) -> Iterator[Site]:
    yield from served(tmp_path, hospital, mutual=False)


def with_certificate(files: TlsFiles, authority: Authority) -> tuple[str, ...]:
    return ("+tls", str(files.key), str(files.certificate), "+cf", str(authority.ca))


def test_a_sender_with_a_certificate_of_the_hospital_is_served(
    mutual: Site, hospital: Authority, modality: TlsFiles, film: Path
) -> None:
    assert mutual.storescu(film, *with_certificate(modality, hospital)) == 0
    assert [encoded[-1000:] for encoded in mutual.stored] == [film.read_bytes()[-1000:]]
    assert mutual.turned_away == []


def test_our_own_sender_meets_our_own_listener(mutual: Site, modality: TlsFiles) -> None:
    assert scu.echo(Target("CXRWORKER", "127.0.0.1", mutual.port, "STORESCU", timeout_s=10, tls=modality))


def test_an_anonymous_sender_is_served_only_where_no_certificate_is_asked_for(
    one_sided: Site, hospital: Authority, film: Path
) -> None:
    assert one_sided.storescu(film, "--anonymous-tls", "+cf", str(hospital.ca)) == 0
    assert len(one_sided.stored) == 1


def test_an_anonymous_sender_is_turned_away_where_one_is_asked_for(
    mutual: Site, hospital: Authority, film: Path
) -> None:
    assert mutual.storescu(film, "--anonymous-tls", "+cf", str(hospital.ca)) != 0
    assert "the peer sent none" in mutual.reason()
    assert mutual.stored == []


def test_a_plain_sender_at_the_tls_port_is_turned_away_in_words(mutual: Site, film: Path) -> None:
    assert mutual.storescu(film) != 0
    assert "plain DICOM" in mutual.reason()


def test_an_expired_certificate_is_turned_away(mutual: Site, hospital: Authority, film: Path) -> None:
    expired = hospital.certify("expired", days=-1)
    assert mutual.storescu(film, *with_certificate(expired, hospital)) != 0
    assert "expired" in mutual.reason()
    assert mutual.stored == []


def test_a_certificate_of_another_authority_is_turned_away(
    mutual: Site, hospital: Authority, film: Path, tmp_path: Path
) -> None:
    foreign = Authority.made_in(tmp_path / "stranger").certify("foreign")
    assert mutual.storescu(film, *with_certificate(foreign, hospital)) != 0
    assert "of the authorities in `ca`" in mutual.reason()
    assert mutual.stored == []


def test_a_right_certificate_does_not_open_the_port_to_a_wrong_title(
    mutual: Site, hospital: Authority, modality: TlsFiles, film: Path
) -> None:
    assert mutual.storescu(film, "-aet", "STRANGER", *with_certificate(modality, hospital)) != 0
    assert [(peer.aet, reason) for peer, reason, _ in mutual.turned_away] == [("STRANGER", "unknown_sender")]


def test_silent_clients_at_the_tls_port_keep_nobody_waiting(
    mutual: Site, hospital: Authority, modality: TlsFiles, film: Path
) -> None:
    silent = [socket.create_connection(("127.0.0.1", mutual.port)) for _ in range(8)]
    try:
        assert mutual.storescu(film, *with_certificate(modality, hospital)) == 0
    finally:
        for connection in silent:
            connection.close()
    assert len(mutual.stored) == 1


def test_a_look_whether_the_port_is_open_is_no_refusal(
    mutual: Site, hospital: Authority, modality: TlsFiles, film: Path
) -> None:
    for _ in range(3):
        socket.create_connection(("127.0.0.1", mutual.port)).close()
    assert mutual.storescu(film, *with_certificate(modality, hospital)) == 0
    assert mutual.turned_away == []
