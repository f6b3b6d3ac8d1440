"""HTTP as we speak it to a DICOMweb server: verified TLS, no redirects, bounded answers, no environment."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.errors import InvalidDicomError
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError as TransportError
from urllib3.exceptions import MaxRetryError, SSLError

from dicom_io.errors import DestinationError, Unanswered, Unreachable
from dicom_io.tls import TlsFiles, client_context

# Of each request they log UIDs, query values and headers with their passwords, and what libraries raised.
for _library in ("dicomweb_client", "retrying", "urllib3"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)

MAX_ANSWER_BYTES = 256 << 20
"""More than any radiograph; a longer answer is cut off instead of filling the memory."""
MAX_ANSWER_TIMEOUTS = 20
"""A body may take this many times the time-out; each piece of it has to come within one."""
PIECE_BYTES = 1 << 16
UNREADABLE = (
    InvalidDicomError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    SyntaxError,
    EOFError,
    RecursionError,
)
"""How the libraries fail over an answer that is no DICOM JSON, no XML, no multipart or no part-10 file; over
one that is nested without end, too."""


@dataclass(frozen=True)
class WebTarget:
    """A DICOMweb server.

    Raises
    ------
    ValueError
        The URL is not `http` or `https` with a host, or holds a password.
    """

    url: str
    """The address before `/studies` (PS3.18 section 8.2)."""
    timeout_s: float = 30.0
    """For the connection, and for each piece of an answer."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with each request: `Authorization`, say."""
    tls: TlsFiles = field(default_factory=TlsFiles)
    """Whom we trust, and our own certificate for a server that asks for one."""

    def __post_init__(self) -> None:
        """Check the URL."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("expected http://HOST[:PORT]/PATH or https://…, without query")
        if parts.username is not None or parts.password is not None:
            raise ValueError("expected a URL without a password; put it into an Authorization header")

    @property
    def name(self) -> str:
        """How messages call it."""
        return self.url


class _Transport(HTTPAdapter):
    """Keeps what requests would not: a bound on each answer, and the last one for who asks."""

    def __init__(self, target: WebTarget, accept: str | None) -> None:
        self._accept = accept
        self._timeout_s = target.timeout_s
        self._context = client_context(target.tls) if target.url.startswith("https:") else None
        self.answer: requests.Response | None = None
        super().__init__(max_retries=0)

    def init_poolmanager(self, *rest: Any, **options: Any) -> None:
        super().init_poolmanager(*rest, **options, ssl_context=self._context)

    def send(self, request: requests.PreparedRequest, *rest: Any, **options: Any) -> requests.Response:
        # dicomweb-client names the host without its port; the true header is made when this one is absent.
        request.headers.pop("Host", None)
        if self._accept is not None:
            request.headers["Accept"] = self._accept
        response = super().send(request, *rest, **{**options, "stream": True})
        try:
            body = self._read(response)
        finally:
            response.close()
        # requests reads any file here as it reads a socket.
        response.raw = BytesIO(body)
        self.answer = response
        return response

    def _read(self, response: requests.Response) -> bytes:
        deadline = time.monotonic() + MAX_ANSWER_TIMEOUTS * self._timeout_s
        body = bytearray()
        try:
            # `read1` returns what has come: a server that drips byte by byte meets the deadline.
            while piece := response.raw.read1(PIECE_BYTES, decode_content=True):
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    raise _Excess(f"an answer of more than {MAX_ANSWER_BYTES >> 20} MiB")
                if time.monotonic() > deadline:
                    raise _Excess(f"an answer that takes longer than {MAX_ANSWER_TIMEOUTS} time-outs")
        except (TransportError, OSError) as error:
            raise requests.ConnectionError(error) from error
        return bytes(body)


class _Excess(Exception):
    """An answer beyond our bounds."""


@dataclass(frozen=True)
class Exchange:
    """A client of dicomweb-client, and the answer that it got last."""

    client: Any
    _transport: _Transport

    @property
    def answer(self) -> requests.Response | None:
        """The last answer, with its body; None when there was none."""
        return self._transport.answer


@contextmanager
def exchange(target: WebTarget, accept: str | None = None) -> Iterator[Exchange]:
    """Open a session with the server; what goes wrong in it is raised as an error of ours.

    Parameters
    ----------
    target : WebTarget
        The server.
    accept : str, optional
        Media types to ask for, in place of those that the library names.

    Raises
    ------
    Unreachable
        No connection came about, or TLS failed.
    Unanswered
        The connection broke between request and answer.
    DestinationError
        The server answered with an HTTP error, a redirect, or something that is no DICOM.
    BadTlsFiles
        A certificate or key of ours cannot be used.
    """
    transport = _Transport(target, accept)
    with requests.Session() as session:
        # Neither proxies nor passwords (.netrc) come from the environment: the settings say all.
        session.trust_env = False
        session.max_redirects = 0
        # Named again, since requests would add the common authorities to those of the context.
        session.verify = str(target.tls.ca) if target.tls.ca else True
        session.headers.update({"Accept": "application/dicom+json", **target.headers})
        session.mount("http://", transport)
        session.mount("https://", transport)
        client = DICOMwebClient(
            target.url.rstrip("/"), session=session, timeout=target.timeout_s, permissive_uid=True
        )
        # When to try again is the caller's decision, and a row in the database.
        client.set_http_retry_params(retry=False)
        with _translated(target):
            yield Exchange(client, transport)


@contextmanager
def _translated(target: WebTarget) -> Iterator[None]:
    """Say in our own errors what went wrong; no message of a library, which may quote a URL or a body."""
    try:
        yield
    except requests.HTTPError as error:
        raise DestinationError(f"{target.name}: HTTP {_code(error)}") from error
    except requests.TooManyRedirects as error:
        raise DestinationError(
            f"{target.name}: expected an answer, got a redirect; set the address it leads to"
        ) from error
    except (requests.ConnectionError, requests.Timeout) as error:
        if isinstance(error, requests.ConnectTimeout) or _never_connected(error):
            raise Unreachable(f"{target.name}: {_connection_trouble(error)}") from error
        raise Unanswered(f"{target.name}: expected an answer, the connection broke") from error
    except _Excess as error:
        raise Unanswered(f"{target.name}: {error}") from error
    except requests.JSONDecodeError as error:
        raise DestinationError(f"{target.name}: expected DICOM JSON, got something else") from error
    except requests.RequestException as error:
        raise DestinationError(f"{target.name}: {type(error).__name__}") from error
    except UNREADABLE as error:
        raise DestinationError(f"{target.name}: expected DICOM, got something else") from error


def _code(error: requests.HTTPError) -> str:
    return "error" if error.response is None else str(error.response.status_code)


def _never_connected(error: requests.RequestException) -> bool:
    """Whether the request never left: urllib3 gives up on connecting with this error alone."""
    return bool(error.args) and isinstance(error.args[0], MaxRetryError)


def _connection_trouble(error: requests.RequestException) -> str:
    reason = error.args[0].reason if _never_connected(error) else None
    if isinstance(reason, SSLError):
        inner = reason.args[0] if reason.args else reason
        words = getattr(inner, "verify_message", "") or getattr(inner, "reason", "") or "no common TLS"
        return f"TLS failed: {words}"
    return "no connection, nobody answers"
