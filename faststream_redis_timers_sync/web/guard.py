"""Protects the pages: security headers, the origin of forms, limits on their size.

The lessons behind it: Flower CVE-2022-30034, Hangfire GHSA-7rq6-7gv8-c37h, Sidekiq CVE-2022-23837.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs, urlsplit

from faststream_redis_timers_sync.web.arguments import several
from faststream_redis_timers_sync.web.audit import header_text, log_form_refused
from faststream_redis_timers_sync.web.messages import (
    MOST_BODY,
    RefusedError,
    Request,
    size_to_read,
)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # With no-referrer browsers send "Origin: null" with forms.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""On every response, errors too."""

NO_STORE = ("Cache-Control", "no-store")
"""On every response but the stylesheet, the script and the icon, whose addresses have a hash."""

MOST_FIELDS = 300
"""Fields of a form."""

_FORM = "application/x-www-form-urlencoded"

_PORTS = {"http": ":80", "https": ":443"}


class Form:
    """The fields of a form.

    Args:
        fields: The values by name.
    """

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        """Keep them."""
        self._fields = fields

    def get(self, name: str) -> str:
        """Return the first value of a field; empty if there is none.

        Args:
            name: The field.
        """
        return self.all(name)[0] if self.all(name) else ""

    def all(self, name: str) -> list[str]:
        """Return all values of a field.

        Args:
            name: The field.
        """
        return self._fields.get(name, [])


def read_origins(origins: Iterable[str]) -> frozenset[str]:
    """Check the origins that browsers see if a proxy changes the host.

    Args:
        origins: Each with its scheme, as ``https://ops.example.com``.

    Raises:
        TypeError: It is a single str, or one of them is not a str.
        ValueError: One of them is not an origin.
    """
    found = set()
    for origin in several("origins", origins, "strings"):
        if not isinstance(origin, str):
            msg = f"origins must be several strings, got {origin!r} among them"
            raise TypeError(msg)
        if not _is_origin(origin):
            msg = (
                "origins must be scheme, host and maybe port, without patterns, as "
                f"https://ops.example.com, got {origin!r}"
            )
            raise ValueError(msg)
        found.add(_plain(origin))
    return frozenset(found)


def _is_origin(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        is_whole = parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        return False
    is_plain = not set(parts.netloc) & set("*?@ ")
    return (
        bool(is_whole)
        and is_plain
        and parts.scheme in _PORTS
        and origin == f"{parts.scheme}://{parts.netloc}"
    )


def check_origin(request: Request, origins: frozenset[str]) -> None:
    """Accept only forms of these pages.

    Browsers send `Sec-Fetch-Site` with the origin of a form, but not over plain HTTP; there
    `Origin` must be this host.

    Args:
        request: A POST.
        origins: Further origins, of `read_origins`.

    Raises:
        RefusedError: It comes from another site, or from an unknown one.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site == "same-origin":
            return
    elif origin := request.headers.get("origin"):
        host = request.headers.get("host", "").lower()
        scheme, _, at = _plain(origin).partition("://")
        if scheme in _PORTS and at and at == host.removesuffix(_PORTS[scheme]):
            return
        if _plain(origin) in origins:
            return
    log_form_refused(request)
    if site is not None:
        why = f"The browser sent Sec-Fetch-Site: {header_text(request, 'sec-fetch-site')}"
    else:
        origin, host = (header_text(request, name) for name in ("origin", "host"))
        why = f"The browser sent Origin: {origin}, and the application was asked as Host: {host}"
    msg = (
        f"This form does not come from these pages, so nothing was changed. {why}. If they are "
        "behind a proxy that changes the host, name their address in the argument origins."
    )
    raise RefusedError(403, "Refused", msg)


def _plain(origin: str) -> str:
    origin = origin.lower()
    return origin.removesuffix(_PORTS.get(origin.partition(":")[0], ""))


def read_form(request: Request) -> Form:
    """Read the fields of a form.

    Args:
        request: A POST.

    Raises:
        RefusedError: It is too large, incomplete, or not a form of these pages.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != _FORM:
        msg = f"Forms must be of type {_FORM}."
        raise RefusedError(415, "Unsupported form", msg)
    _check_length(request)
    if len(request.body) > MOST_BODY:
        msg = f"Forms may have at most {MOST_BODY // 1024} KiB. Tick fewer timers."
        raise RefusedError(413, "Form too large", msg)
    try:
        fields = parse_qs(
            request.body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS
        )
    except UnicodeDecodeError:
        raise RefusedError(400, "Bad form", "Forms must be percent-encoded.") from None
    except ValueError:
        msg = f"Forms may have at most {MOST_FIELDS} fields. Tick fewer timers."
        raise RefusedError(413, "Form too large", msg) from None
    return Form(fields)


def _check_length(request: Request) -> None:
    """Refuse a form that was cut off: the rest of it may have named other timers, or none."""
    size = size_to_read(request.headers.get("content-length", ""))
    if size is None and not request.body:
        # Not every web server knows the end of a chunked body.
        raise RefusedError(411, "Length required", "Forms must have a Content-Length header.")
    if size is not None and len(request.body) < size:
        msg = (
            "The form arrived incomplete, so nothing was changed. Send it again. If that does not "
            "help, another part of the application reads forms before these pages."
        )
        raise RefusedError(400, "Bad form", msg)
