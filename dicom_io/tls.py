"""TLS for DICOM associations, both ways: the BCP 195 profile of the standard (PS3.15 section B.12)."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from dicom_io.errors import BadTlsFiles

CIPHERS_OF_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
"""Forward secrecy and authenticated encryption alone (RFC 9325 section 4.2); TLS 1.3 has no others."""


@dataclass(frozen=True)
class TlsFiles:
    """Where the certificates lie; each file is PEM."""

    ca: Path | None = None
    """The authorities whose certificates we believe; a client without it believes those of the system, and
    one with it also a server's own certificate that stands there."""
    certificate: Path | None = None
    """Our own certificate, with its chain."""
    key: Path | None = None
    """The private key of our certificate, not encrypted; may stand in the certificate's file."""


def server_context(files: TlsFiles, *, require_client_certificate: bool) -> ssl.SSLContext:
    """Return how we answer on a TLS port: TLS 1.2 or 1.3.

    Parameters
    ----------
    files : TlsFiles
        Our certificate, which a server must have, and the authorities of our clients.
    require_client_certificate : bool
        Whether only peers with a certificate of these authorities may connect (PS3.15 section B.12,
        "mutual authentication").

    Raises
    ------
    BadTlsFiles
        A file is missing, unreadable or no PEM, the key does not fit, or there are no authorities to
        ask a client's certificate of.
    """
    if files.certificate is None:
        raise BadTlsFiles("certificate: expected a PEM file with the listener's certificate, none is named")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    _load_own(context, files)
    if require_client_certificate:
        if files.ca is None:
            raise BadTlsFiles("ca: expected a PEM file with the authorities of the clients, none is named")
        _load_authorities(context, files.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(files: TlsFiles, *, check_hostname: bool = True) -> ssl.SSLContext:
    """Return how we call a TLS port: TLS 1.2 or 1.3, the server's certificate always verified.

    Parameters
    ----------
    files : TlsFiles
        The authorities of the server, and our certificate where the server asks for one.
    check_hostname : bool, optional
        Whether the certificate must name the host that is called; archives are often called by an address
        that no certificate names.

    Raises
    ------
    BadTlsFiles
        A file is missing, unreadable or no PEM, or the key does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = check_hostname
    if files.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_authorities(context, files.ca)
        # Who is named is believed: also one server's own certificate, without the authority that issued it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if files.certificate is not None:
        _load_own(context, files)
    elif files.key is not None:
        raise BadTlsFiles("key: expected a certificate beside it, none is named")
    return context


def failure_words(error: OSError) -> str:
    """Say in words why a handshake failed, for the record of an administrator.

    Parameters
    ----------
    error : OSError
        What the handshake raised; `ssl.SSLError` is one.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"expected a certificate of the authorities in `ca`: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "expected a TLS handshake, the peer was silent"
    reason = getattr(error, "reason", None)
    if reason in _WORDS_OF_REASONS:
        return _WORDS_OF_REASONS[reason]
    return f"expected a TLS handshake, it failed: {reason or type(error).__name__}"


_WORDS_OF_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "expected a client certificate, the peer sent none",
    "WRONG_VERSION_NUMBER": "expected TLS, the peer speaks plain DICOM or something else",
    "HTTP_REQUEST": "expected TLS, the peer speaks HTTP",
    "UNSUPPORTED_PROTOCOL": "expected TLS 1.2 or 1.3, the peer speaks an older version",
    "NO_SHARED_CIPHER": "expected a cipher suite of the BCP 195 profile, the peer offers none",
    "UNEXPECTED_EOF_WHILE_READING": "expected a TLS handshake, the peer closed the connection",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not know the authority of our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired, says the peer",
}
"""OpenSSL's reasons that an administrator meets."""


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS_OF_TLS_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_own(context: ssl.SSLContext, files: TlsFiles) -> None:
    certificate, key = files.certificate, files.key
    for name, path in (("certificate", certificate), ("key", key)):
        if path is not None:
            _check_readable(name, path)
    try:
        # With an empty pass phrase an encrypted key is an error; else OpenSSL would ask the terminal.
        context.load_cert_chain(str(certificate), None if key is None else str(key), password="")
    except (ssl.SSLError, ValueError) as error:
        raise BadTlsFiles(
            f"certificate {certificate} and key {key or certificate}: expected a PEM certificate and its "
            f"private key, not encrypted: {getattr(error, 'reason', None) or 'they cannot be loaded'}"
        ) from error


def _load_authorities(context: ssl.SSLContext, ca: Path) -> None:
    _check_readable("ca", ca)
    try:
        context.load_verify_locations(cafile=str(ca))
    except ssl.SSLError as error:
        raise BadTlsFiles(
            f"ca {ca}: expected PEM certificates of authorities: {error.reason or 'it cannot be loaded'}"
        ) from error


def _check_readable(name: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise BadTlsFiles(f"{name} {path}: expected a readable PEM file: {error.strerror}") from error
