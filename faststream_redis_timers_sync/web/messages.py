"""Requests and responses as the pages see them, independent of the web server."""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any

HTML = "text/html; charset=utf-8"

MOST_BODY = 64 * 1024
"""The most bytes of a request's body; adapters read one more to detect a longer body."""


def size_to_read(length: str) -> int | None:
    """Return how many bytes of a request's body to read.

    Args:
        length: The header ``Content-Length``.

    Returns:
        Its number, or `MOST_BODY` plus one if it is larger; None if it is not a number.
    """
    if not (length.isascii() and length.isdecimal()):
        return None
    # Python refuses to read numbers of thousands of digits.
    is_larger = len(length.lstrip("0")) > len(str(MOST_BODY))
    return MOST_BODY + 1 if is_larger else min(int(length), MOST_BODY + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request, as `allow` and the pages see it.

    Args:
        method: The method, in upper case.
        query: The raw query of its address, without the question mark.
        headers: Its headers; names are in lower case, values of a repeated header are joined by
            commas, those of ``cookie`` by semicolons.
        scope: ASGI's scope, with ``scope["user"]`` if a middleware set it, or WSGI's environ, with
            ``scope["REMOTE_USER"]``.
        body: The first 64 KiB of its body, and one byte more where it is longer.
    """

    method: str
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    scope: Mapping[str, Any] = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name, without those that can't be read."""
        found: dict[str, str] = {}
        # One by one: Python's reader stops at a cookie that it can't read. All programs on a host
        # share cookies, whatever their ports.
        for part in self.headers.get("cookie", "").split(";"):
            with suppress(CookieError):
                for name, one in SimpleCookie(part.strip()).items():
                    # The first one has the longest path.
                    found.setdefault(name, one.value)
        return found

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password of HTTP's basic authentication; None if there are none.

        Compare both with `hmac.compare_digest`, as bytes.
        """
        kind, _, word = self.headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            user, colon, password = base64.b64decode(word, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        return (user, password) if colon else None


def join_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join headers of the same name.

    Args:
        headers: Names and values, as they came.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        # HTTP/2 sends each cookie by itself.
        between = "; " if lower == "cookie" else ","
        found[lower] = f"{found[lower]}{between}{value}" if lower in found else value
    return found


@dataclass(frozen=True, slots=True)
class Response:
    """A response.

    Args:
        status: The status code.
        body: The body.
        content_type: Its type.
        headers: Further headers.
    """

    status: int
    body: bytes = field(repr=False)
    content_type: str = HTML
    headers: Sequence[tuple[str, str]] = ()


class RefusedError(Exception):
    """Ends a request with a page that says why.

    Args:
        status: The status code.
        title: The title of the page.
        sentence: The problem and its remedy.
        headers: Further headers.
    """

    def __init__(
        self, status: int, title: str, sentence: str, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Keep all."""
        super().__init__(sentence)
        self.status = status
        self.title = title
        self.headers = headers
