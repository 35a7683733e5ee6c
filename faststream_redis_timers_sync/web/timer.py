"""The page of one timer."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from faststream_redis_timers_sync.manage.contents import MOST_BODY, body_text, header_texts
from faststream_redis_timers_sync.manage.series import series_facts
from faststream_redis_timers_sync.manage.server import server_time
from faststream_redis_timers_sync.manage.text import escape, plural
from faststream_redis_timers_sync.manage.tokens import to_token
from faststream_redis_timers_sync.protocol.dead_letters import is_dead_letter
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.web.formatting import (
    dead_letter_facts,
    moment,
    row_of,
    times_of,
)
from faststream_redis_timers_sync.web.messages import RefusedError, Response
from faststream_redis_timers_sync.web.visit import Visit
from faststream_redis_timers_sync.web.words import ACTIONS, Action

_log = logging.getLogger("faststream_redis_timers_sync.web")

NOT_SHOWN = "The body could not be shown: see the application's log."


def timer_page(visit: Visit) -> Response:
    """Make the page of a timer.

    Args:
        visit: The visit.

    Raises:
        RefusedError: It is not pending.
    """
    address = visit.address
    if not address.topic:
        raise RefusedError(400, "Bad address", "The address of a timer must name its topic.")
    timer = visit.timers.get_timer(address.topic, address.timer_id)
    if timer is None:
        msg = (
            f"Timer “{escape(address.timer_id)}” of topic “{escape(address.topic)}” is no longer "
            "pending: it was delivered or cancelled."
        )
        raise RefusedError(404, "Unknown timer", msg)
    now = server_time(visit.timers, address.topic)
    is_dead = is_dead_letter(timer.headers)
    row = row_of(timer, address, now, is_dead=is_dead)
    return visit.page(
        "timer",
        row.name,
        row=row,
        token=to_token(timer.timer_id),
        now=moment(now, now),
        refresh_link=address,
        left="",
        facts=[*dead_letter_facts(timer, now), *series_facts(timer)],
        correlation_id=escape(timer.correlation_id),
        content_type=escape(timer.content_type or ""),
        times=times_of(timer, now),
        headers=header_texts(timer),
        **_body(visit, timer),
        buttons=[
            (action, address.to(topic=address.topic, do=action.name))
            for action in ACTIONS.values()
            if action.right in visit.access.may and _fits(action, row.state, timer, is_dead=is_dead)
        ],
    )


def _fits(action: Action, state: str, timer: Timer, *, is_dead: bool) -> bool:
    """Return whether an action can be done to a timer."""
    if action.name == "redrive":
        return is_dead
    if action.name == "pause":
        return timer.repeat is not None and state != "paused"
    return action.name != "resume" or state == "paused"


def _body(visit: Visit, timer: Timer) -> dict[str, Any]:
    size = plural(len(timer.body), "byte")
    parts = {"body": None, "body_size": size, "body_problem": "", "cut_after": ""}
    try:
        shown = None if visit.show_body is None else _shown_body(visit.show_body, visit, timer)
        if shown is None:
            return parts
        text, _is_json = body_text(replace(timer, body=shown))
    except Exception:  # noqa: BLE001  what the application's function raises costs the body alone
        topic, timer_id = escape(visit.address.topic), escape(timer.timer_id)
        _log.exception("show_body failed for timer %s of topic %s", timer_id, topic)
        return {**parts, "body_problem": NOT_SHOWN}
    cut = f"{MOST_BODY:,}" if len(text) > MOST_BODY else ""
    return {**parts, "body": text[:MOST_BODY], "cut_after": cut}


def _shown_body(
    show_body: Callable[[str, Timer], bytes | None], visit: Visit, timer: Timer
) -> bytes | None:
    shown = show_body(visit.address.topic, timer)
    if shown is None or isinstance(shown, bytes):
        return shown
    # The result may be what must not be shown, so it is not repeated.
    msg = f"show_body must return bytes or None, got {type(shown).__name__}"
    raise TypeError(msg)
