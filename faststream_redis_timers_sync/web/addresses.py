"""Addresses of pages: all are queries of one path, whatever the mount, proxy or topic."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, quote

from faststream_redis_timers_sync.manage.forms import ActionName
from faststream_redis_timers_sync.manage.pages import Only
from faststream_redis_timers_sync.manage.text import escape
from faststream_redis_timers_sync.manage.tokens import from_token
from faststream_redis_timers_sync.web.messages import RefusedError

Refresh = Literal["0", "5", "15", "60"]
"""Seconds after which a page refreshes itself; 0 means never."""

STATES: tuple[Only, ...] = ("waiting", "running", "overdue", "recurring", "paused")
ACTIONS: tuple[ActionName, ...] = get_args(ActionName)

_MOST_FIELDS = 30
_CLOSED: dict[str, Collection[str]] = {
    "only": STATES,
    "refresh": get_args(Refresh),
    "range": ("hour", "day", "month"),
    "do": (*ACTIONS, "scan"),
    "asset": ("css", "js", "icon"),
}
"""The values of fields that are not free text."""

_NAMES = {"timer_id": "timer", "search": "q"}


@dataclass(frozen=True, slots=True)
class Address:
    """The fields of an address: what it names, and how to show it.

    Args:
        topic: The topic; empty means all.
        timer_id: The timer; empty means all of the topic.
        search: What to search for.
        only: The kind or state to show.
        after: The cursor of the page.
        range: How far the forecast looks.
        refresh: Seconds after which the page refreshes itself.
        seen: The counts of the last page.
        do: What to do, in a POST.
        asset: The stylesheet or the script.
        v: The hash of that.
    """

    topic: str = ""
    timer_id: str = ""
    search: str = ""
    only: str = ""
    after: str = ""
    range: str = ""
    refresh: str = ""
    seen: str = ""
    do: str = ""
    asset: str = ""
    v: str = ""

    def __str__(self) -> str:
        """Write it as a query."""
        fields = ((name, getattr(self, name)) for name in self.__slots__)
        return "?" + "&".join(
            f"{_NAMES.get(name, name)}={quote(value, safe=_SAFE, errors='surrogateescape')}"
            for name, value in fields
            if value
        )

    def to(self, **changes: Any) -> "Address":
        """Return another address, with the same range and refresh.

        Args:
            changes: Its other fields.
        """
        return Address(**{"range": self.range, "refresh": self.refresh, **changes})

    def but(self, **changes: Any) -> "Address":
        """Return the same address with changes.

        Args:
            changes: The changed fields.
        """
        return replace(self, **changes)


_SAFE = ",:"


def read_address(query: str) -> Address:
    """Read the query of an address.

    Args:
        query: The query, without the question mark. The first value of a repeated field counts;
            unknown fields are ignored.

    Raises:
        RefusedError: A field has an invalid value.
    """
    try:
        # Bytes that are not UTF-8 may be part of an id.
        pairs = parse_qsl(
            query,
            keep_blank_values=True,
            errors="surrogateescape",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        msg = f"Addresses of these pages have at most {_MOST_FIELDS} fields."
        raise RefusedError(400, "Bad address", msg) from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value)
    for name, known in _CLOSED.items():
        if (value := fields.get(name, "")) and value not in known:
            msg = f"{name} must be one of {', '.join(known)}, got “{escape(value)}”."
            raise RefusedError(400, "Bad address", msg)
    if token := fields.pop("of", ""):
        # Forms name the topic by its token: browsers change line breaks.
        fields["topic"] = _topic_of(token)
    try:
        fields.get("topic", "").encode()
    except UnicodeEncodeError:
        raise RefusedError(404, "Unknown topic", "Topics are text in UTF-8.") from None
    return Address(**{name: fields.get(_NAMES.get(name, name), "") for name in Address.__slots__})


def _topic_of(token: str) -> str:
    try:
        return from_token(token)
    except ValueError:
        raise RefusedError(400, "Bad address", "The address names no topic.") from None
