"""Text that is safe and short enough to show: ids, topics, bodies, times."""

from datetime import UTC, datetime, tzinfo

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\\": r"\\"}
_FIRST_OF_BYTES = 0xDC80
_LAST_OF_BYTES = 0xDCFF
_SMALLEST_WIDE = 0x80


def escape(text: str, keep: str = "") -> str:
    r"""Escape unprintable characters, so that no text can control a terminal.

    The escapes are those of ``$'...'`` in a shell, which reads them back.

    Args:
        text: An id, a topic or a body; surrogate escapes stand for bytes.
        keep: Characters that stay as they are though they would be escaped, for
            example line breaks or the backslash.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(c if c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    code = ord(character)
    if _FIRST_OF_BYTES <= code <= _LAST_OF_BYTES:
        return f"\\x{code - 0xDC00:02x}"
    if code < _SMALLEST_WIDE:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004  four digits


def quoted(text: str) -> str:
    """Return an id or topic, escaped and in quotes, for a sentence.

    Args:
        text: The id or topic.
    """
    return f"'{escape(text)}'"


def plural(count: int, word: str = "timer") -> str:
    """Return a count with its noun: ``1 timer``, ``2,000 timers``.

    Args:
        count: The count.
        word: The noun in the singular.
    """
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def local_time(time: datetime, zone: tzinfo | None) -> str:
    """Return a time to the second, in a time zone.

    Args:
        time: The time.
        zone: The zone; None is the machine's.
    """
    return in_zone(time, zone).strftime("%Y-%m-%d %H:%M:%S")


def in_zone(time: datetime, zone: tzinfo | None) -> datetime:
    """Convert a time to a zone, except in the first and last days of `datetime`.

    Args:
        time: The time.
        zone: The zone; None is the machine's.
    """
    try:
        return time.astimezone(zone)
    except (OverflowError, ValueError, OSError):
        return time


def exact_time(time: datetime | None) -> str | None:
    """Return a time for programs: ISO 8601 with microseconds, in UTC where possible.

    Args:
        time: The time; None stays None.
    """
    if time is None:
        return None
    return in_zone(time, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
