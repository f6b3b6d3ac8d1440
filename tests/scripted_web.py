"""A web server that answers what a test tells it to, on a free loopback port; with TLS when asked."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Self

DROP = -1
"""As a code: the connection is closed without an answer."""
DRIP = -2
"""As a code: a byte every 20 ms, without an end."""


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedWeb:
    """Answers every request with the same code, type and body, unless `answers` has one for its path."""

    code: int = 200
    body: bytes = b""
    media_type: str = "application/dicom+json"
    headers: dict[str, str] = field(default_factory=dict)
    answers: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    """Beginning of the path → code, media type, body."""
    requests: list[Request] = field(default_factory=list)
    done: Event = field(default_factory=Event)
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/dicom-web"

    @classmethod
    @contextmanager
    def running(cls, *, tls: ssl.SSLContext | None = None, **script: object) -> Iterator[Self]:
        web = cls(**script)  # type: ignore[arg-type]

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                """Tests need no log of requests."""

            def do_GET(self) -> None:
                web._answer(self)

            def do_POST(self) -> None:
                web._answer(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that breaks off is what some tests want."""

        server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
            web.scheme = "https"
        web.port = int(server.server_address[1])
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield web
        finally:
            web.done.set()
            server.shutdown()
            server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        self.requests.append(
            Request(handler.command, handler.path, dict(handler.headers), handler.rfile.read(length))
        )
        code, media_type, body = next(
            (answer for start, answer in self.answers.items() if handler.path.startswith(start)),
            (self.code, self.media_type, self.body),
        )
        handler.close_connection = True
        if code == DROP:
            return
        handler.send_response(200 if code == DRIP else code)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.send_header("Content-Type", media_type)
        handler.send_header("Content-Length", str(10**9 if code == DRIP else len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        while code == DRIP and not self.done.wait(0.02):
            handler.wfile.write(b" ")
