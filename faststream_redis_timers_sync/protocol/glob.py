"""Redis' glob patterns without Redis."""

import re
from functools import cache


@cache
def glob(pattern: bytes) -> re.Pattern[bytes]:
    """Compile a glob pattern with Redis' rules.

    Args:
        pattern: The pattern, for example ``user:[0-9]*``.
    """
    parts = []
    while pattern:
        char, pattern = pattern[:1], pattern[1:]
        if char == b"*":
            part = b".*"
        elif char == b"?":
            part = b"."
        elif char == b"[":
            part, pattern = _read_class(pattern)
        elif char == b"\\" and pattern:
            part, pattern = re.escape(pattern[:1]), pattern[1:]
        else:
            part = re.escape(char)
        parts.append(part)
    return re.compile(b"".join(parts), re.DOTALL)


def _read_class(pattern: bytes) -> tuple[bytes, bytes]:
    """Read a class of bytes behind its bracket; give it for `re`, and what follows it."""
    is_negated = pattern.startswith(b"^")
    pattern = pattern[is_negated:]
    members: set[int] = set()
    while pattern and not pattern.startswith(b"]"):
        if pattern.startswith(b"\\") and len(pattern) > 1:
            members.add(pattern[1])
            pattern = pattern[2:]
        elif pattern[1:2] == b"-" and len(pattern) > 2:  # noqa: PLR2004  the end of a range
            first, last = sorted((_signed(pattern[0]), _signed(pattern[2])))
            members.update(one % 256 for one in range(first, last + 1))
            pattern = pattern[3:]
        else:
            members.add(pattern[0])
            pattern = pattern[1:]
    if is_negated:
        members = set(range(256)) - members
    part = b"[%b]" % b"".join(re.escape(bytes([one])) for one in members) if members else b"(?!)"
    return part, pattern[1:]


def _signed(byte: int) -> int:
    # As a server compares characters where they have a sign (x86-64).
    return byte - 256 if byte >= 128 else byte  # noqa: PLR2004  half of all bytes
