"""A timer's body and headers as text that is safe to show."""

import json
from typing import Any

from faststream_redis_timers_sync.manage.series import SERIES_HEADERS
from faststream_redis_timers_sync.manage.text import escape
from faststream_redis_timers_sync.protocol.encoding import TEXT
from faststream_redis_timers_sync.protocol.model import Timer

MOST_BODY = 64 * 1024
"""Characters of a body that are shown."""

_LARGE_BODY = 1024 * 1024
"""Bytes above which a body is not decoded to be shown: that takes seconds, and many times its
size in memory."""


def body_text(timer: Timer) -> tuple[str, bool]:
    """Return a body as text: JSON indented, text unchanged, bytes as Python writes them.

    Args:
        timer: The timer.

    Returns:
        The text, and whether it is JSON; for a body above 1 MiB, its beginning, unchanged. JSON
        ends soon after `MOST_BODY` characters.
    """
    if len(timer.body) > _LARGE_BODY:
        # Characters have up to 4 bytes; with one more than is shown it is known that it's cut.
        begin = timer.body[: 4 * (MOST_BODY + 1)].decode(errors="backslashreplace")
        return escape(begin, keep="\n\t\\"), False
    try:
        body = timer.decode()
    except (ValueError, RecursionError):
        body = timer.body
    if isinstance(body, bytes):
        return (repr(body) if body else ""), False
    if timer.content_type == TEXT:
        return escape(body, keep="\n\t\\"), False
    try:
        return escape(_indented(body), keep="\n\\"), True
    except RecursionError:
        return escape(timer.body.decode(errors="backslashreplace"), keep="\n\t\\"), False


def _indented(body: Any) -> str:
    """Write JSON, no more than is shown: nested lists have more indentation than contents."""
    parts, length = [], 0
    for part in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(body):
        parts.append(part)
        length += len(part)
        if length > MOST_BODY:
            break
    return "".join(parts)


def header_texts(timer: Timer) -> list[tuple[str, str]]:
    """Return names and values of a timer's headers, without those that are shown elsewhere.

    Args:
        timer: The timer.
    """
    return [
        (escape(name), escape(value)) for name, value in timer.headers.items() if name not in _APART
    ]


_APART = frozenset({"correlation_id", "content-type"}) | SERIES_HEADERS
