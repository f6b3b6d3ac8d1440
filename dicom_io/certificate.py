"""What a peer shows of itself in a TLS handshake: version, cipher, certificate (RFC 8446, RFC 5280)."""

import ssl
import time
from dataclasses import dataclass
from socket import create_connection
from typing import Any

from dicom_io.tls import TlsFiles, client_context

DAY_S = 86_400


@dataclass(frozen=True)
class Handshake:
    """A TLS connection as it came about, whether or not its certificate was believed."""

    version: str
    """`TLSv1.3`, say."""
    cipher: str
    subject: str = ""
    """Empty, like the others, where the certificate cannot be read: it has expired, say."""
    issuer: str = ""
    not_before: str = ""
    not_after: str = ""
    names: tuple[str, ...] = ()
    """Hosts and addresses that it is for (Subject Alternative Name)."""

    @property
    def days_left(self) -> int | None:
        """Days until the certificate expires; None where it cannot be read."""
        if not self.not_after:
            return None
        return int((ssl.cert_time_to_seconds(self.not_after) - time.time()) // DAY_S)


def shake_hands(host: str, port: int, files: TlsFiles, *, check_hostname: bool, timeout_s: float) -> None:
    """Connect over TLS as a delivery would, and close again.

    Raises
    ------
    ssl.SSLError
        The handshake failed, or the certificate is not believed.
    OSError
        No connection came about.
    """
    context = client_context(files, check_hostname=check_hostname)
    with (
        create_connection((host, port), timeout=timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=host),
    ):
        pass


def inspect(host: str, port: int, files: TlsFiles, *, timeout_s: float) -> Handshake:
    """Connect over TLS whoever it is, and tell what the peer showed; nothing is sent there.

    Raises
    ------
    OSError
        No connection came about, or the peer speaks no TLS that we do.
    """
    encoded = b""
    stranger = client_context(files, check_hostname=False)
    stranger.verify_mode = ssl.CERT_NONE
    with (
        create_connection((host, port), timeout=timeout_s) as plain,
        stranger.wrap_socket(plain, server_hostname=host) as secured,
    ):
        version, cipher = secured.version() or "", (secured.cipher() or ("",))[0]
        encoded = secured.getpeercert(binary_form=True) or b""
    return Handshake(version, cipher, **_decoded(host, port, encoded, timeout_s))


def _decoded(host: str, port: int, encoded: bytes, timeout_s: float) -> dict[str, Any]:
    """Read a certificate; the library decodes only one that it believes: it is told to believe this one."""
    believing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    believing.check_hostname = False
    believing.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        believing.load_verify_locations(cadata=encoded)
        with (
            create_connection((host, port), timeout=timeout_s) as plain,
            believing.wrap_socket(plain, server_hostname=host) as secured,
        ):
            certificate: dict[str, Any] = secured.getpeercert() or {}
    except (OSError, ValueError):
        return {}
    return {
        "subject": _name(certificate.get("subject", ())),
        "issuer": _name(certificate.get("issuer", ())),
        "not_before": certificate.get("notBefore", ""),
        "not_after": certificate.get("notAfter", ""),
        "names": tuple(f"{kind}:{value}" for kind, value in certificate.get("subjectAltName", ())),
    }


def _name(parts: Any) -> str:
    """A distinguished name in one line."""
    return ", ".join(f"{key}={value}" for part in parts for key, value in part)
