"""Our own listener, as a caller on this machine meets it."""

from dicom_io.association import Target
from dicom_io.tls import TlsFiles
from worker.settings import Settings

EVERY_ADDRESS = ("0.0.0.0", "::")


def target(settings: Settings, calling_aet: str, *, timeout_s: float = 30.0) -> Target:
    """Where it listens; over TLS where it speaks that, with its own certificate as ours."""
    listener = settings.listener
    tls = None
    if listener.tls is not None:
        # Its own certificate is what we believe: `ca` names who vouches for its clients.
        own = listener.tls.certificate
        tls = TlsFiles(own, own, listener.tls.key)
    return Target(
        aet=listener.aet,
        host="127.0.0.1" if listener.host in EVERY_ADDRESS else listener.host,
        port=listener.port,
        calling_aet=calling_aet,
        timeout_s=timeout_s,
        tls=tls,
        check_hostname=False,
    )
