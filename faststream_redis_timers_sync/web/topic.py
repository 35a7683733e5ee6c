"""The page of a topic's timers: search, state, and page by page."""

from typing import Any

from faststream_redis_timers_sync.manage import wording
from faststream_redis_timers_sync.manage.deadline import PAGE_SECONDS, Deadline
from faststream_redis_timers_sync.manage.forms import token_of_search
from faststream_redis_timers_sync.manage.pages import Only, Page, read_cursor
from faststream_redis_timers_sync.manage.searching import search_page
from faststream_redis_timers_sync.manage.series import with_series
from faststream_redis_timers_sync.manage.states import COUNT_WORDS
from faststream_redis_timers_sync.manage.stats import TopicStats, count_topics
from faststream_redis_timers_sync.manage.text import escape, plural
from faststream_redis_timers_sync.manage.tokens import to_token
from faststream_redis_timers_sync.web.addresses import STATES, Address
from faststream_redis_timers_sync.web.forecasts import forecast_parts
from faststream_redis_timers_sync.web.formatting import moment, rows_of
from faststream_redis_timers_sync.web.messages import RefusedError, Response
from faststream_redis_timers_sync.web.visit import Visit
from faststream_redis_timers_sync.web.words import ACTIONS, CANCEL, REDRIVE, Action, looked_through

ON_A_PAGE = 100
"""Timers on a page."""

_ONLY: dict[str, Only] = {state: state for state in STATES}


def topic_page(visit: Visit) -> Response:
    """Make the page of a topic.

    Args:
        visit: The visit.

    Raises:
        RefusedError: The topic is unknown, or the cursor is not from this page.
    """
    address = visit.address
    (stats,) = count_topics(visit.timers, [address.topic]).topics
    if not (stats.pending or stats.workers or address.topic in visit.topics):
        msg = (
            f"Topic “{escape(address.topic)}” is unknown: no timer is pending in it, no worker "
            "listens to it, and the application does not name it."
        )
        raise RefusedError(404, "Unknown topic", msg)
    forecast = forecast_parts(visit, [address.topic])
    page = _read(visit)
    # A number is shown only if timers were counted.
    count = page.matching if address.search or address.only else stats.pending
    is_dead = visit.holds_dead_letters(forecast["forecast"])
    found = with_series(visit.timers, address.topic, page.timers)
    rows = rows_of(found, address, stats.at, is_dead=is_dead)
    buttons = _buttons(visit, is_dead=is_dead, has_series=any(row.repeats for row in rows))
    # To cancel all timers takes a right of its own.
    may_match = bool(address.search) or "cancel_all" in visit.access.may
    may_match = may_match or any(action is not CANCEL for action, _ in buttons)
    return visit.page(
        "topic",
        escape(address.topic),
        stats=stats,
        facts=_facts(stats, is_dead=is_dead),
        rows=rows,
        has_series=any(row.repeats for row in rows),
        is_dead=is_dead,
        search=_to_type(address.search),
        search_token=token_of_search(address.search),
        topic_token=to_token(address.topic),
        # Dead letters only wait: nobody delivers them.
        states=() if is_dead and not address.only else STATES,
        progress=looked_through(page, stats.pending) if page.is_cut else "",
        nothing=_nothing(address, page),
        # With a state the form can't say which timers are meant.
        matching=_matching(address, count) if may_match and not address.only else "",
        count_text="" if count is None else plural(count),
        buttons=buttons,
        everything=token_of_search(""),
        can_cancel_all="cancel_all" in visit.access.may and stats.pending > 0,
        first=address.but(after="", seen="") if address.after else None,
        next=None if page.end is None else address.but(after=page.end.token, seen=""),
        now=moment(stats.at, stats.at),
        **forecast,
    )


def _to_type(search: str) -> str:
    """Return a search as the field can hold and send it again, or else as readable text."""
    try:
        search.encode()
    except UnicodeEncodeError:
        return escape(search, keep="\\")
    return escape(search, keep="\\") if set(search) & set("\0\r\n") else search


def _read(visit: Visit) -> Page:
    address = visit.address
    try:
        after = read_cursor(address.after)
    except ValueError:
        msg = "This page does not exist: go back to the first page of the topic."
        raise RefusedError(400, "Bad address", msg) from None
    return search_page(
        visit.timers,
        address.topic,
        address.search,
        only=_ONLY.get(address.only),
        after=after,
        limit=ON_A_PAGE,
        longest_lease=visit.longest_lease,
        on_examined=Deadline(PAGE_SECONDS),
    )


def _facts(stats: TopicStats, *, is_dead: bool) -> list[tuple[str, str]]:
    facts = [(COUNT_WORDS["dead" if is_dead else "pending"], f"{stats.pending:,}")]
    if not is_dead:
        facts.append((COUNT_WORDS["overdue"], f"{stats.overdue:,}"))
    if stats.paused:
        facts.append((COUNT_WORDS["paused"], f"{stats.paused:,}"))
    if stats.workers is not None:
        facts.append(("Listening workers", f"{stats.workers:,}"))
    return facts


def _nothing(address: Address, page: Page) -> str:
    """Return why a page has no timers."""
    if page.is_cut:
        return wording.NONE_YET
    if address.after:
        return wording.NO_MORE
    return wording.NO_MATCH if address.search or address.only else wording.NONE_HERE


def _matching(address: Address, count: int | None) -> str:
    if not address.search:
        return f"all {count:,} of this topic"
    return "all that match the search" if count is None else f"all {count:,} that match the search"


def _buttons(visit: Visit, *, is_dead: bool, has_series: bool) -> list[tuple[Action, Any]]:
    """Return the actions that the user may take, and the address of each."""
    shown = [
        action
        for action in ACTIONS.values()
        if action.right in visit.access.may
        and (action is not REDRIVE or is_dead)
        and (action.name not in {"pause", "resume"} or has_series)
    ]
    address = visit.address
    return [(one, address.to(topic=address.topic, do=one.name)) for one in shown]
