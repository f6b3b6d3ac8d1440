"""The port of the listener: TLS in the connection's own thread, and every association with our `Intake`."""

import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from pynetdicom import evt
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from dicom_io.intake import Intake
from dicom_io.tls import failure_words

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S = 10.0


IPV4_ON_IPV6 = "::ffff:"
"""Before the address of an IPv4 host that calls a port on `::` (RFC 4291 section 2.5.5.2)."""


class ListenerServer(ThreadedAssociationServer):
    """Serves associations; a connection that fails its TLS handshake, or is silent, costs itself alone.

    pynetdicom makes the handshake in the loop that accepts connections, where one silent peer stops all.

    Parameters
    ----------
    incoming : Path
        Folder into which data sets are received.
    max_object_bytes : int
        Largest data set of a C-STORE.
    tls : ssl.SSLContext or None
        How the port speaks TLS; None for plain DICOM.
    refused : Callable[[str, str, str, str], None]
        Told who was turned away here, by AE title (empty before an association) and host, why, and in words.
    *arguments, **more
        As pynetdicom's server takes them.
    """

    request_queue_size = 64
    """Connections that wait for being accepted; a modality opens one for each film."""

    def __init__(
        self,
        *arguments: Any,
        incoming: Path,
        max_object_bytes: int,
        tls: ssl.SSLContext | None,
        refused: Callable[[str, str, str, str], None],
        **more: Any,
    ) -> None:
        self.incoming = incoming
        self.max_object_bytes = max_object_bytes
        self._tls = tls
        self.refused = refused
        more["request_handler"] = _Connection
        super().__init__(*arguments, **more)

    def get_request(self) -> Any:
        """Accept a connection; its address is the host's own, as the settings name it."""
        request, (host, *more) = super().get_request()
        return request, (host.removeprefix(IPV4_ON_IPV6), *more)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Make the handshake where there is TLS, then serve."""
        if self._tls is not None:
            secured = self._shake_hands(self._tls, request, client_address)
            if secured is None:
                return
            request = secured
        super().finish_request(request, client_address)

    def shutdown(self) -> None:
        """Close the port; associations that are open end by themselves, or with the process."""
        # Not pynetdicom's, which also takes the server off a list that `AE.make_server` does not put it on.
        TCPServer.shutdown(self)
        self.server_close()

    def _shake_hands(
        self, tls: ssl.SSLContext, request: socket.socket, client_address: Any
    ) -> ssl.SSLSocket | None:
        try:
            request.settimeout(HANDSHAKE_TIMEOUT_S)
            secured = tls.wrap_socket(request, server_side=True)
            secured.settimeout(None)
        except OSError as error:
            words, host = failure_words(error), str(client_address[0])
            self.shutdown_request(request)
            if isinstance(error, ssl.SSLEOFError | ConnectionError):
                # It left: a look whether the port is open, by us or a monitor, is no refusal.
                return None
            log.warning("TLS connection refused: %s, host %s", words, host)
            self.refused("", host, "tls", words)
            return None
        return secured


class _Connection(RequestHandler):
    server: ListenerServer

    def _create_association(self) -> Any:
        association = super()._create_association()

        def refused(reason: str, detail: str) -> None:
            peer = association.requestor
            self.server.refused(str(peer.ae_title).strip(), str(peer.address), reason, detail)

        intake = Intake(association, self.server.incoming, self.server.max_object_bytes, refused)
        association.dimse = intake

        def closed(_: Any) -> None:
            intake.discard()
            # pynetdicom leaves it open when the peer was faster, until the garbage collector comes.
            self.request.close()

        association.bind(evt.EVT_CONN_CLOSE, closed)
        return association
