"""The pages for one user on one machine: the standard library's server, and a token.

It listens only on 127.0.0.1. The printed address has the token; a cookie replaces it, and it
disappears from the address.
"""

import hmac
import secrets
import socket
import sys
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from faststream_redis_timers_sync.web.addresses import read_address
from faststream_redis_timers_sync.web.guard import HEADERS, NO_STORE
from faststream_redis_timers_sync.web.messages import (
    MOST_BODY,
    RefusedError,
    Request,
    Response,
    join_headers,
    size_to_read,
)
from faststream_redis_timers_sync.web.pages import TimerPages
from faststream_redis_timers_sync.web.visit import problem_page

HOST = "127.0.0.1"

_TOKEN_BYTES = 24
_IDLE_SECONDS = 10.0
_MOST_DRAINED = 16 * 1024 * 1024
"""Bytes of a body that are read before the response; the sender of a larger one may not see it."""


class LocalServer(ThreadingHTTPServer):
    """Serves pages to clients that have the token.

    Args:
        pages: The pages.
        port: The port; 0 picks a free one.

    Attributes:
        url: The address to open, with the token.
        url_for_one_use: The same with a single-use token: for a browser's command line, which
            other users of the machine can read.

    Raises:
        OSError: The port is taken.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, pages: TimerPages, port: int) -> None:
        """Listen."""
        super().__init__((HOST, port), _Handler)
        self._pages = pages
        self._token = secrets.token_urlsafe(_TOKEN_BYTES)
        at = self.server_address[1]
        self._hosts = {f"{HOST}:{at}", f"localhost:{at}"}
        # Cookies ignore ports, and two of these servers may run.
        self._cookie = f"timers-{at}"
        self._root = f"http://{HOST}:{at}/"
        self.url = f"{self._root}?token={self._token}"
        self._once = secrets.token_urlsafe(_TOKEN_BYTES)
        self._lock = threading.Lock()
        self.url_for_one_use = f"{self._root}?token={self._once}"

    def answer(self, request: Request) -> Response:
        """Answer a request of this machine.

        Args:
            request: The request.
        """
        # Another host name for this machine means DNS rebinding by a foreign page.
        if request.headers.get("host", "").lower() not in self._hosts:
            port = self.server_address[1]
            msg = (
                f"These pages have another address: {self._root} with the token that the command "
                "printed. If you forward a port to them, use the same number on your machine: "
                f"ssh -L {port}:{HOST}:{port}."
            )
            return _refusal(msg)
        tokens = parse_qs(request.query).get("token", [])
        if request.method == "GET" and len(tokens) == 1 and self._lets_in(tokens[0]):
            cookie = f"{self._cookie}={self._token}; HttpOnly; Path=/; SameSite=Strict"
            headers = [("Location", "?"), ("Set-Cookie", cookie)]
            return Response(303, b"", headers=[*headers, *HEADERS, NO_STORE])
        # The page that refuses has the stylesheet too, which is no secret.
        is_open = request.method in {"GET", "HEAD"} and _is_asset(request.query)
        if not is_open and not self._is_token(request.cookies.get(self._cookie, "")):
            return _refusal("Open the address that the command has printed: it has the token.")
        return self._pages.answer(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Write a traceback, unless the client has left.

        Args:
            request: The connection.
            client_address: Who it was.
        """
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def _lets_in(self, token: str) -> bool:
        with self._lock:
            if self._once and hmac.compare_digest(
                token.encode(errors="replace"), self._once.encode()
            ):
                self._once = ""
                return True
        return self._is_token(token)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(errors="replace"), self._token.encode())


def _is_asset(query: str) -> bool:
    try:
        return bool(read_address(query).asset)
    except RefusedError:
        return False


def _refusal(sentence: str, status: int = 403, title: str = "Refused") -> Response:
    page = problem_page(status, title, sentence, ())
    return Response(status, page.body, headers=[*HEADERS, NO_STORE])


class _Handler(BaseHTTPRequestHandler):
    """A connection: one request and its response."""

    server: LocalServer
    timeout = _IDLE_SECONDS
    server_version = "timers"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        self._respond(b"")

    do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815  their names

    def do_POST(self) -> None:
        """Answer."""
        size = size_to_read(self.headers.get("Content-Length", ""))
        try:
            body = self.rfile.read(size or 0)
        except TimeoutError:
            self.send_error(HTTPStatus.REQUEST_TIMEOUT)
            return
        self._respond(body)
        if len(body) > MOST_BODY:
            self._drain()

    def _drain(self) -> None:
        """Read the rest of a body: otherwise a reset may lose the response."""
        left = _MOST_DRAINED
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (part := self.connection.recv(min(left, MOST_BODY))):
                left -= len(part)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a bad request with a page like all others.

        Args:
            code: The status code.
            message: Not used: it may repeat what the client has sent.
            explain: Not used.
        """
        status = HTTPStatus(code)
        self.close_connection = True
        self._send(_refusal(f"{status.description or status.phrase}.", status, status.phrase))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  as its parent
        """Write nothing: the first address has the token."""

    def _respond(self, body: bytes) -> None:
        _, _, query = self.path.partition("?")
        headers = join_headers(self.headers.items())
        request = Request(method=self.command, query=query, headers=headers, scope={}, body=body)
        self._send(self.server.answer(request))

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
