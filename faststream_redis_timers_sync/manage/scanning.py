"""The topics that a page lists: named ones, those that workers listen to, those that a scan finds.

Scans run only on request: the server may hold millions of other keys. A scan continues from one
request to the next, and its state travels between them as one word.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from redis.exceptions import NoPermissionError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.server import count_keys, internals_of
from faststream_redis_timers_sync.manage.text import escape
from faststream_redis_timers_sync.manage.tokens import from_token, to_token
from faststream_redis_timers_sync.manage.topics import (
    describe_elsewhere,
    read_cursor,
    scan_topics,
    topics_elsewhere,
    topics_listened_to,
)
from faststream_redis_timers_sync.protocol.keys import REMEDY_ELSEWHERE

MOST_TOPICS = 1000
"""Topics on a page; others can be opened by name, or are on the next page."""

MOST_CARRIED = 32 * 1024
"""Characters of names that a scan carries from step to step: forms have a size limit."""

SCAN_SECONDS = 2.0
"""How long one request scans."""

Remark = Literal["no pubsub", "no scan", "too many", "gaps", "dropped"]
"""Remarks about a list of topics: the server does not allow asking for listeners, or scanning;
there are more topics; slots moved during the scan, so that some may be missing; or some that
earlier steps of the scan found are no longer listed."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The state of a scan, carried from request to request by the page's form.

    Args:
        cursor: Where to continue; empty at the start and at the end.
        examined: How many keys were examined.
        topics: The topics found.
        total: How many keys there are; None before the first step.
        elsewhere: The topics found whose keys have no hash tags, where the client's have.
        has_gaps: Whether topics may be missing because slots of a cluster moved meanwhile.
        has_dropped: Whether some topics found before could not be carried further.
    """

    cursor: str = ""
    examined: int = 0
    topics: frozenset[str] = field(default_factory=frozenset)
    total: int | None = None
    elsewhere: frozenset[str] = field(default_factory=frozenset)
    has_gaps: bool = False
    has_dropped: bool = False

    @property
    def state(self) -> str:
        """The scan as one word for a form, with as many topics as `MOST_CARRIED` allows."""
        # They are few, and each is a warning.
        elsewhere = _fitting(self.elsewhere, MOST_CARRIED // 4)
        topics = _fitting(self.topics, MOST_CARRIED - MOST_CARRIED // 4)
        are_all = len(topics) == len(self.topics) and len(elsewhere) == len(self.elsewhere)
        has_dropped = self.has_dropped or not are_all
        words = [self.cursor, self.examined, has_dropped, topics, elsewhere]
        return to_token(json.dumps(words, ensure_ascii=False))

    @property
    def is_done(self) -> bool:
        """Whether all keys were examined, or enough topics found."""
        return self.total is not None and (not self.cursor or len(self.topics) > MOST_TOPICS)


def _fitting(names: Iterable[str], most: int) -> list[str]:
    """Keep as many names as fit in so many bytes of JSON, the shortest first."""
    found, size = [], 0
    for name in sorted(names, key=lambda name: (len(name), name)):
        size += len(json.dumps(name, ensure_ascii=False).encode()) + len(", ")
        if size > most:
            break
        found.append(name)
    return found


_MOST_EXAMINED = 2**63 - 1


def read_scan(state: str) -> Scan:
    """Read `Scan.state`.

    Args:
        state: The word; one that can't be read starts a new scan.
    """
    try:
        cursor, examined, has_dropped, *found = json.loads(from_token(state))
        read_cursor(cursor)
        # What could not be named would be an error later on.
        topics, elsewhere = (
            frozenset(topic for topic in some if topic and topic.encode()) for some in found
        )
        examined = min(max(0, int(examined)), _MOST_EXAMINED)
        return Scan(cursor, examined, topics, elsewhere=elsewhere, has_dropped=bool(has_dropped))
    except (AttributeError, OverflowError, RecursionError, TypeError, ValueError):
        return Scan()


class Found(NamedTuple):
    """The topics to list.

    Args:
        topics: The topics, in order.
        end: The topic after which the next page starts; empty if there is none.
        scan: The requested scan, a step further; None if none was requested, or it is refused.
        remarks: Remarks about them.
        warnings: Sentences about timers in the other layout of keys, which nobody delivers.
    """

    topics: list[str]
    end: str
    scan: Scan | None
    remarks: list[Remark]
    warnings: list[str]


def find_topics(
    timers: TimersClient,
    known: Iterable[str],
    scan: Scan | None,
    *,
    after: str = "",
    limit: int | None = None,
) -> Found:
    """Find the topics to list.

    Args:
        timers: The client.
        known: The topics that the application names.
        scan: The requested scan, to be taken a step further.
        after: Only topics after this one, in order of their names.
        limit: How many topics a page has; None means `MOST_TOPICS`.

    Raises:
        redis.RedisError: The server or the connection failed.
    """
    topics = set(known)
    remarks: list[Remark] = []
    try:
        topics.update(topics_listened_to(timers))
    except NoPermissionError:
        remarks.append("no pubsub")
    if scan is not None:
        try:
            scan = _go_on(timers, scan)
            topics |= scan.topics
        except NoPermissionError:
            scan = None
            remarks.append("no scan")
    reach = internals_of(timers)
    # A form's scan, or an application, may name some that can have no keys.
    behind = sorted(
        topic for topic in topics if topic > after and not reach.keys.mistake_of(reach.full(topic))
    )
    most = MOST_TOPICS if limit is None else limit
    shown = behind[:most]
    if len(behind) > most:
        remarks.append("too many")
    if scan is not None and scan.has_gaps:
        remarks.append("gaps")
    if scan is not None and scan.has_dropped:
        remarks.append("dropped")
    end = shown[-1] if len(behind) > most else ""
    return Found(shown, end, scan, remarks, _warnings(timers, shown, scan))


def _go_on(timers: TimersClient, scan: Scan) -> Scan:
    total = count_keys(timers)
    part = scan_topics(timers, scan.cursor, seconds=SCAN_SECONDS)
    return Scan(
        part.cursor,
        scan.examined + part.examined,
        scan.topics | part.topics,
        total,
        scan.elsewhere | part.elsewhere,
        part.has_gaps,
        scan.has_dropped,
    )


def _warnings(timers: TimersClient, topics: list[str], scan: Scan | None) -> list[str]:
    found = []
    with suppress(NoPermissionError):
        found.append(topics_elsewhere(timers, topics))
    if scan is not None:
        found.append(sorted(scan.elsewhere - set(topics)))
    return [f"{_warning(timers, some)}: {REMEDY_ELSEWHERE}." for some in found if some]


def _warning(timers: TimersClient, topics: list[str]) -> str:
    sentence = describe_elsewhere(timers, topics)
    return escape(sentence[0].upper() + sentence[1:], keep="\\")
