"""The pages under WSGI."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from faststream_redis_timers_sync.web.messages import MOST_BODY, Request, Response, size_to_read


class WsgiPages:
    """The pages as a WSGI application.

    Args:
        answer: Answers a request.
    """

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        """Keep it."""
        self._answer = answer

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request.

        Args:
            environ: WSGI's environ of the request.
            start_response: Accepts status and headers of the response.
        """
        method = environ["REQUEST_METHOD"].upper()
        response = self._answer(
            Request(
                method=method,
                query=environ.get("QUERY_STRING", ""),
                headers=_headers_of(environ),
                scope=environ,
                body=_read_body(environ) if method == "POST" else b"",
            )
        )
        start_response(
            f"{response.status} {HTTPStatus(response.status).phrase}",
            [
                ("Content-Type", response.content_type),
                ("Content-Length", str(len(response.body))),
                *response.headers,
            ],
        )
        return [b"" if method == "HEAD" else response.body]


def _read_body(environ: dict[str, Any]) -> bytes:
    most = size_to_read(environ.get("CONTENT_LENGTH") or "")
    if most is None:
        most = MOST_BODY + 1 if environ.get("wsgi.input_terminated") else 0
    body: bytes = environ["wsgi.input"].read(most)
    return body


def _headers_of(environ: dict[str, Any]) -> dict[str, str]:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if value := environ.get(name):
            headers[name.replace("_", "-").lower()] = value
    return headers
