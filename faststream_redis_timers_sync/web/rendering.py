"""Templates, stylesheet and script: the only module that knows Jinja."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from faststream_redis_timers_sync.protocol.extras import missing_extra

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined
except ModuleNotFoundError as error:
    if error.name != "jinja2":
        raise
    raise missing_extra("faststream_redis_timers_sync.web", error, "web") from None

_environment = Environment(
    loader=PackageLoader("faststream_redis_timers_sync.web"),
    # All values are escaped, whatever the name of a template.
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Asset(NamedTuple):
    """The stylesheet, the script or the icon.

    Args:
        body: Its text.
        content_type: Its type.
        v: The hash of its text: if the text changes, so does the address.
    """

    body: bytes
    content_type: str
    v: str


_FILES = {
    "css": ("timers.css", "text/css; charset=utf-8"),
    "js": ("timers.js", "text/javascript; charset=utf-8"),
    "icon": ("timers.svg", "image/svg+xml"),
}


@cache
def asset(name: str) -> Asset:
    """Return the stylesheet, the script or the icon.

    Args:
        name: ``css``, ``js`` or ``icon``.
    """
    file, content_type = _FILES[name]
    body = files("faststream_redis_timers_sync.web").joinpath("static", file).read_bytes()
    return Asset(body, content_type, hashlib.sha256(body).hexdigest()[:16])


def render(template: str, **context: Any) -> bytes:
    """Render a page.

    Args:
        template: The name of the template.
        context: The template's variables.
    """
    text = _environment.get_template(f"{template}.html").render(context)
    return text.encode(errors="backslashreplace")
