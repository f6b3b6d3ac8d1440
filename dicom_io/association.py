"""Associations that we request, plain or over TLS, and in words why one did not come about (PS3.8)."""

import logging
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, build_role

from dicom_io.errors import BadTlsFiles, DestinationError, Unreachable
from dicom_io.rejections import rejected
from dicom_io.tls import TlsFiles, client_context, failure_words

log = logging.getLogger(__name__)

EXPLICIT_LE = "1.2.840.10008.1.2.1"
IMPLICIT_LE = "1.2.840.10008.1.2"

ALERT_WAIT_S = 1.0
"""With TLS 1.3 a server says what it dislikes of our certificate only after the handshake."""


@dataclass(frozen=True)
class Target:
    """A DICOM peer, and how we call ourselves there."""

    aet: str
    host: str
    port: int
    calling_aet: str
    timeout_s: float = 30.0
    tls: TlsFiles | None = None
    """With it the peer is called over TLS."""
    check_hostname: bool = True
    """Whether the certificate must name the host that is called."""

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.aet}@{self.host}:{self.port}"


@contextmanager
def associate(
    target: Target,
    contexts: Sequence[tuple[str, str]],
    *,
    as_scp: Sequence[str] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Any]:
    """Open an association, and release it whatever happens.

    Parameters
    ----------
    target : Target
        The peer.
    contexts : sequence of tuple of str
        Abstract and transfer syntax, each pair proposed in a presentation context of its own.
    as_scp : sequence of str, optional
        Abstract syntaxes for which we offer to be the SCP on this association, and not the SCU
        (SCP/SCU Role Selection, PS3.7 section D.3.3.4).
    handlers : sequence, optional
        pynetdicom's event handlers, for what the peer may ask of us.

    Yields
    ------
    pynetdicom.association.Association
        Established, or ended by the peer that accepted no context: then `accepted_contexts` is empty.

    Raises
    ------
    Unreachable
        No association came about; `Rejected`, with the three numbers, when the peer said no.
    DestinationError
        The peer ended the association before it was used.
    """
    tls = _tls_context(target)
    association = _request(target, contexts, as_scp, handlers, tls)
    if not association.is_established:
        if association.is_rejected:
            raise rejected(target.name, association)
        # With no context accepted pynetdicom aborts: that is an answer, and the caller sees it.
        if not association.rejected_contexts:
            trouble = _tls_trouble(target, tls) if tls else None
            raise Unreachable(f"{target.name}: {trouble or 'no association, nobody answers'}")
    try:
        yield association
    except RuntimeError as error:
        if association.is_established:
            raise
        # pynetdicom's word for an association that the peer ended before it was used.
        raise DestinationError(f"{target.name}: association ended by the peer") from error
    finally:
        if association.is_established:
            association.release()


def _request(
    target: Target,
    contexts: Sequence[tuple[str, str]],
    as_scp: Sequence[str],
    handlers: Sequence[Any],
    tls: ssl.SSLContext | None,
) -> Any:
    entity = AE(ae_title=target.calling_aet)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = target.timeout_s
    entity.connection_timeout = target.timeout_s
    for abstract, syntax in contexts:
        entity.add_requested_context(abstract, syntax)
    try:
        return entity.associate(
            target.host,
            target.port,
            ae_title=target.aet,
            ext_neg=[build_role(uid, scp_role=True) for uid in as_scp],
            tls_args=(tls, target.host) if tls else None,
            evt_handlers=list(handlers),
        )
    except OSError as error:
        # A host name that does not resolve is an error here; a port where nobody listens is none.
        raise Unreachable(f"{target.name}: {error.strerror}") from error


def _tls_context(target: Target) -> ssl.SSLContext | None:
    if target.tls is None:
        return None
    try:
        return client_context(target.tls, check_hostname=target.check_hostname)
    except BadTlsFiles as error:
        # Ours to mend, and until then nothing can be sent there.
        raise Unreachable(f"{target.name}: {error}") from error


def _tls_trouble(target: Target, tls: ssl.SSLContext) -> str | None:
    """Connect once more to learn why TLS failed, which pynetdicom only logs; None when it does not."""
    try:
        plain = socket.create_connection((target.host, target.port), timeout=target.timeout_s)
    except OSError:
        return None
    with plain:
        try:
            with tls.wrap_socket(plain, server_hostname=target.host) as secured:
                secured.settimeout(min(ALERT_WAIT_S, target.timeout_s))
                return _alert(secured)
        except OSError as error:
            return f"TLS failed: {failure_words(error)}"


def _alert(secured: ssl.SSLSocket) -> str | None:
    """What the peer says right after the handshake; a DICOM peer waits for us to speak, and says nothing."""
    try:
        secured.recv(1)
    except TimeoutError:
        pass
    except ssl.SSLError as error:
        return f"TLS failed: {failure_words(error)}"
    return None
