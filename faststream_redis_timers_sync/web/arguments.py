"""Checks the arguments of `TimerPages`: each error names the argument and what was given."""

import inspect
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from faststream_redis_timers_sync.protocol.keys import plain_text

T = TypeVar("T")


def several(argument: str, values: Iterable[T], what: str) -> list[T]:
    """Return several values as a list.

    Args:
        argument: Name of the argument.
        values: The value.
        what: The kind of values, in the plural.

    Raises:
        TypeError: It is a single str, or is not iterable.
    """
    if isinstance(values, (str, bytes)):
        msg = f"{argument} must be several {what}, got one: write [{values!r}]"
        raise TypeError(msg)
    if not isinstance(values, Iterable):
        msg = f"{argument} must be several {what}, got {values!r}"
        raise TypeError(msg)
    return list(values)


def check_function(argument: str, function: object) -> None:
    """Refuse an argument that is not callable, or is asynchronous.

    Args:
        argument: Name of the argument.
        function: The value.

    Raises:
        TypeError: It is not a function, or is asynchronous.
    """
    if not callable(function):
        msg = f"{argument} must be a function, got {function!r}"
        raise TypeError(msg)
    # For a callable object, its `__call__` decides.
    method = getattr(function, "__call__", None)  # noqa: B004  not whether it is there
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(method):
        msg = (
            f"{argument} must not be async, got {function!r}: write it with def. It is called in a "
            "thread, so it may block"
        )
        raise TypeError(msg)


def read_topics(topics: Iterable[str]) -> tuple[str, ...]:
    """Check topics.

    Args:
        topics: The topics, or the result of the given function.

    Raises:
        TypeError: One is not a str.
        ValueError: One is empty.
    """
    return tuple(plain_text("topic", topic) for topic in several("topics", topics, "strings"))


def read_lease(lease: timedelta | float | None) -> timedelta | None:
    """Check the longest lease.

    Args:
        lease: The value.

    Raises:
        TypeError: It is not a duration.
        ValueError: It is not above 0, or too long.
    """
    if lease is None:
        return None
    if isinstance(lease, bool) or not isinstance(lease, (int, float, timedelta)):
        msg = f"longest_lease must be a timedelta or a number of seconds, got {lease!r}"
        raise TypeError(msg)
    try:
        if not isinstance(lease, timedelta) and not math.isfinite(lease):
            raise OverflowError  # noqa: TRY301  as for one that is too long
        length = lease if isinstance(lease, timedelta) else timedelta(seconds=lease)
    except OverflowError:
        msg = f"longest_lease must be finite and at most {timedelta.max.days:,} days, got {lease!r}"
        raise ValueError(msg) from None
    if length <= timedelta():
        msg = f"longest_lease must be above 0, got {lease!r}"
        raise ValueError(msg)
    return length


def read_links(links: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Check links.

    Args:
        links: The value.

    Raises:
        TypeError: One is not a pair of strs.
        ValueError: One has no text, or an address with another scheme.
    """
    found = several("links", links, "pairs (text, address)")
    for link in found:
        if not _is_pair(link):
            msg = f"links must be pairs of strings (text, address), got {link!r}"
            raise TypeError(msg)
        if not link[0] or not _is_safe(link[1]):
            msg = f"links must be (text, address) with http, https or no scheme, got {link!r}"
            raise ValueError(msg)
    return tuple((text, address) for text, address in found)


def _is_pair(link: Any) -> bool:
    is_pair = isinstance(link, (tuple, list)) and len(link) == len(("text", "address"))
    return is_pair and all(isinstance(part, str) for part in link)


def _is_safe(address: str) -> bool:
    try:
        return urlsplit(address).scheme in {"", "http", "https"}
    except ValueError:
        return False
