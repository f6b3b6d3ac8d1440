"""A destination as something that can be sent to and asked, whether by association or by DICOMweb."""

from base64 import b64encode
from pathlib import Path
from typing import Protocol

from dicom_io import commitment, scu
from dicom_io.association import Target
from dicom_io.commitment_scp import CommitmentAnswer, Reference
from dicom_io.dicomweb import WebTarget, find_by_qido, stow
from dicom_io.errors import DestinationError, Unreachable
from dicom_io.jpeg import as_jpeg
from dicom_io.scu import Identity, StoreAnswer
from dicom_io.tls import TlsFiles
from dicom_io.transcode import plain
from worker.settings import Destination, DestinationTls, Settings


class Peer(Protocol):
    """What a delivery asks of its destination; each may raise `DestinationError`."""

    query: str
    """By what `find` asks, for the record."""

    def store(self, encoded: bytes) -> StoreAnswer:
        """Send an object."""
        ...

    def find(self, identity: Identity) -> tuple[str, ...] | None:
        """Keywords of what is held under another value; None when the object is not there."""
        ...

    def commit(self, transaction_uid: str, identity: Identity) -> tuple[CommitmentAnswer, ...]:
        """Ask for Storage Commitment; returns the answers that came at once."""
        ...


class AssociationPeer:
    """A destination with an AE title."""

    query = "C-FIND"

    def __init__(self, target: Target, jpeg: bool = False) -> None:
        self._target = target
        self._jpeg = jpeg

    def store(self, encoded: bytes) -> StoreAnswer:
        """Send by C-STORE, pictures in JPEG Baseline where the destination asks for that."""
        return scu.store(self._target, as_jpeg(encoded) if self._jpeg else encoded)

    def find(self, identity: Identity) -> tuple[str, ...] | None:
        """Ask by C-FIND."""
        return scu.find(self._target, identity)

    def commit(self, transaction_uid: str, identity: Identity) -> tuple[CommitmentAnswer, ...]:
        """Ask by N-ACTION."""
        reference = Reference(identity.sop_class_uid, identity.sop_instance_uid)
        return commitment.request(self._target, transaction_uid, reference)


class WebPeer:
    """A destination with a URL."""

    query = "QIDO-RS"

    def __init__(self, target: WebTarget, jpeg: bool = False) -> None:
        self._target = target
        self._jpeg = jpeg

    def store(self, encoded: bytes) -> StoreAnswer:
        """Send by STOW-RS.

        Nothing is negotiated there: unless the destination asks for JPEG Baseline, a result that we
        compressed goes out in Explicit VR Little Endian, which every server takes (PS3.18 section 8.7.3.5.1).
        """
        return stow(self._target, as_jpeg(encoded) if self._jpeg else plain(encoded))

    def find(self, identity: Identity) -> tuple[str, ...] | None:
        """Ask by QIDO-RS."""
        return find_by_qido(self._target, identity)

    def commit(self, transaction_uid: str, identity: Identity) -> tuple[CommitmentAnswer, ...]:
        """DICOMweb has no service for it; the settings let no such destination through."""
        raise DestinationError(f"{self._target.name}: expected a destination with an AE title")


def peer_of(destination: Destination, settings: Settings) -> Peer:
    """The destination as the settings describe it; secrets are read now, they may have changed.

    Raises
    ------
    Unreachable
        A file with a secret cannot be read, or holds none.
    """
    jpeg = destination.pictures == "jpeg"
    if destination.url is not None:
        return WebPeer(web_target_of(destination, settings), jpeg)
    return AssociationPeer(target_of(destination, settings), jpeg)


def web_target_of(destination: Destination, settings: Settings) -> WebTarget:
    """Where its DICOMweb service is; it must have a URL. Secrets are read now."""
    if destination.url is None:
        raise ValueError(f"{destination.name}: expected a destination with url")
    return WebTarget(
        destination.url,
        timeout_s=settings.network_timeout_s,
        headers=_authorisation(destination),
        tls=_files(destination.tls),
    )


def target_of(destination: Destination, settings: Settings) -> Target:
    """Where associations to that destination go; it must have an AE title."""
    aet, host, port = destination.aet, destination.host, destination.port
    if aet is None or host is None or port is None:
        raise ValueError(f"{destination.name}: expected a destination with aet, host and port")
    return Target(
        aet=aet,
        host=host,
        port=port,
        calling_aet=destination.calling_aet or settings.listener.aet,
        timeout_s=settings.network_timeout_s,
        tls=None if destination.tls is None else _files(destination.tls),
        check_hostname=destination.tls is None or destination.tls.verify_name,
    )


def _files(tls: DestinationTls | None) -> TlsFiles:
    return TlsFiles() if tls is None else TlsFiles(tls.ca, tls.certificate, tls.key)


def _authorisation(destination: Destination) -> dict[str, str]:
    """The header that says who we are (RFC 6750, RFC 7617)."""
    if destination.token_file is not None:
        return {"Authorization": f"Bearer {_secret('token_file', destination.token_file)}"}
    if destination.user is not None and destination.password_file is not None:
        pair = f"{destination.user}:{_secret('password_file', destination.password_file)}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return {}


def _secret(key: str, file: Path) -> str:
    try:
        secret = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unreachable(f"{key} {file}: expected a readable text file: {type(error).__name__}") from error
    if not secret or not secret.isprintable() or (key == "token_file" and not secret.isascii()):
        raise Unreachable(f"{key} {file}: expected one line of text, the secret")
    return secret
