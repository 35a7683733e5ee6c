"""Asks for confirmation of an action, performs it, and reports each timer's outcome."""

import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.exceptions import RedisError

from faststream_redis_timers_sync.manage import wording
from faststream_redis_timers_sync.manage.changing import Change, Outcome, Tally
from faststream_redis_timers_sync.manage.chosen import Chosen, Preview
from faststream_redis_timers_sync.manage.errors import sentence_of
from faststream_redis_timers_sync.manage.forms import (
    MOVES,
    carry_out_in_time,
    change_named,
    marks_text,
    preview_in_time,
    read_chosen,
    read_marks,
)
from faststream_redis_timers_sync.manage.selection import leaves_nothing_out
from faststream_redis_timers_sync.manage.server import internals_of, server_time
from faststream_redis_timers_sync.manage.text import escape, exact_time
from faststream_redis_timers_sync.manage.times import parse_delay, parse_time
from faststream_redis_timers_sync.manage.tokens import to_token
from faststream_redis_timers_sync.manage.walking import Walk, read_position
from faststream_redis_timers_sync.protocol.dead_letters import TIMER_ID, TOPIC, is_dead_letter
from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.timers import OCCURRENCE
from faststream_redis_timers_sync.protocol.times import ask_due
from faststream_redis_timers_sync.web.addresses import Address
from faststream_redis_timers_sync.web.audit import log_begun, log_ended, log_failed, log_refused
from faststream_redis_timers_sync.web.formatting import moment, name_of, rows_of
from faststream_redis_timers_sync.web.guard import Form
from faststream_redis_timers_sync.web.messages import RefusedError, Response
from faststream_redis_timers_sync.web.visit import Visit
from faststream_redis_timers_sync.web.words import (
    ACTIONS,
    CANCEL,
    REDRIVE,
    RESCHEDULE,
    TOO_LARGE,
    Action,
    consequences,
    outcome_of,
    question_of,
    summary,
)

MOST_NAMED = 200
"""The most timers that may be ticked."""


def ask_or_act(visit: Visit, form: Form) -> Response:
    """Ask for confirmation of an action; perform it if the form confirms it.

    Args:
        visit: The visit, whose address names topic and action.
        form: The form.

    Raises:
        RefusedError: The user lacks the right, or the form was not made by these pages.
    """
    action = ACTIONS.get(visit.address.do)
    if action is None or not visit.address.topic:
        raise RefusedError(400, "Bad address", "The address names no action, or no topic.")
    chosen = _chosen(visit, form)
    _check_right(visit, action, chosen)
    if chosen is None:
        raise RefusedError(400, "Nothing selected", wording.SELECT_FIRST)
    return _Asking(visit, action, chosen, form).answer()


def _chosen(visit: Visit, form: Form) -> Chosen | None:
    search = form.get("q") if form.get("all") == "1" else None
    try:
        chosen = read_chosen(visit.address.topic, form.all("id"), search, most=MOST_NAMED)
    except binascii.Error:
        sentence = "The form is damaged: it names no timer. Go back, and send it again."
        raise RefusedError(400, "Bad form", sentence) from None
    except ValueError as error:
        raise RefusedError(400, "Bad form", f"{str(error).capitalize()}.") from None
    if chosen is not None and chosen.match is not None and leaves_nothing_out(chosen.match):
        return Chosen(topic=chosen.topic, everything=True)
    return chosen


def _check_right(visit: Visit, action: Action, chosen: Chosen | None) -> None:
    is_everything = action is CANCEL and chosen is not None and chosen.everything
    right = "cancel_all" if is_everything else action.right
    if right not in visit.access.may:
        log_refused(visit.access.user, right, visit.address.topic)
        msg = f"You need the right “{right}” for this. Nothing was changed."
        raise RefusedError(403, "Refused", msg)


class _Asking:
    """An action on its way.

    Args:
        visit: The visit.
        action: The action.
        chosen: The timers to act on.
        form: The form.
    """

    def __init__(self, visit: Visit, action: Action, chosen: Chosen, form: Form) -> None:
        self._visit = visit
        self._action = action
        self._chosen = chosen
        self._form = form
        self._past = ""
        self._returned_to: Address | None = None
        self._must_name = action is CANCEL and chosen.everything

    def answer(self) -> Response:
        """Return the page that asks, or that of the outcome."""
        if self._form.get("sure") != "1":
            return self._ask("")
        try:
            self._check_name()
            seen = read_marks(self._chosen, self._form.get("seen"))
            target = self._target()
            at = target if target and self._action is RESCHEDULE else self._due_at()
            moved_to = at if target else None
            after = read_position(self._form.get("position"))
        except ValueError as error:
            return self._ask(f"{str(error)[0].upper()}{str(error)[1:]}.")
        resumes = self._may_resume and self._form.get("resumes") == "1"
        change = change_named(self._action.name, at, moved_to, after=after, resumes=resumes)
        return self._act(change, at, seen, resumes=resumes)

    @property
    def _may_resume(self) -> bool:
        """Whether paused timers may be rescheduled too, which resumes them."""
        return self._action.name in MOVES and RESCHEDULE.right in self._visit.access.may

    @property
    def _name(self) -> str:
        return escape(self._chosen.topic)

    def _check_name(self) -> None:
        if self._must_name and self._form.get("name") != self._name:
            msg = (
                f"type the topic's name, {name_of(self._chosen.topic)}, to cancel all of its timers"
            )
            raise ValueError(msg)

    def _target(self) -> datetime | None:
        """Read the time to which an earlier, cut request has rescheduled timers.

        Only a user who may reschedule chooses it: what is to run now is due now, whatever the form
        says.
        """
        target = self._form.get("target") if self._action.name in MOVES else ""
        return parse_time(target) if target else None

    def _due_at(self) -> datetime | None:
        """Read the new due time; None if the action does not set one."""
        if self._action.name not in MOVES:
            return None
        now = server_time(self._visit.timers, self._chosen.topic)
        if self._action is not RESCHEDULE:
            return now
        delay_text, time_text = self._form.get("delay").strip(), self._form.get("at").strip()
        if bool(delay_text) == bool(time_text):
            msg = "say when: fill in either the delay or the time"
            raise ValueError(msg)
        delay = parse_delay(delay_text) if delay_text else None
        time = parse_time(time_text) if time_text else None
        ask_due(delay, time)
        if time is not None and time < now and self._form.get("past") != time_text:
            self._past = time_text
            msg = "that time is past, so they would be due at once: confirm again to do that"
            raise ValueError(msg)
        return time or now + (delay or timedelta())

    def _ask(self, problem: str) -> Response:
        seen = preview_in_time(self._visit.timers, self._action.name, self._chosen)
        if not seen.count:
            sentence = TOO_LARGE if seen.is_cut else wording.none_of(self._chosen)
            return self._visit.page(
                "nothing", self._action.words.title, sentence=sentence, **_still()
            )
        rows = []
        if seen.at is not None:
            is_dead = self._visit.holds_dead_letters()
            rows = rows_of(seen.timers, self._visit.address, seen.at, is_dead=is_dead)
        return self._visit.page(
            "confirm",
            self._action.words.title,
            status=400 if problem else 200,
            action=self._action,
            question=question_of(self._action, self._chosen, seen),
            texts=consequences(self._action, self._chosen, seen, may_resume=self._may_resume),
            problem=problem,
            rows=rows,
            has_series=any(row.repeats for row in rows),
            must_name=name_of(self._chosen.topic) if self._must_name else "",
            asks_when=self._action is RESCHEDULE,
            asks_resume=self._may_resume and self._chosen.timer_ids and seen.paused,
            delay=escape(self._form.get("delay")),
            at=escape(self._form.get("at")),
            # A time that is confirmed again may be past.
            past=escape(self._past),
            example=self._example(seen) if self._action is RESCHEDULE else "",
            expected="" if seen.is_cut else seen.count,
            marks=marks_text(self._chosen.timer_ids, seen),
            **self._fields(),
            **_still(),
        )

    def _example(self, seen: Preview) -> str:
        """Return tomorrow at nine, by the server's clock."""
        now = seen.at or server_time(self._visit.timers, self._chosen.topic)
        return f"{now.astimezone(UTC) + timedelta(days=1):%Y-%m-%dT09:00}"

    def _fields(self, target: datetime | None = None, walk: Walk | None = None) -> dict[str, Any]:
        """Return the hidden fields of the next form."""
        chosen = self._chosen
        return {
            "go": self._visit.address,
            "tokens": [to_token(timer_id) for timer_id in chosen.timer_ids],
            "is_all": not chosen.timer_ids,
            "search_token": self._form.get("q"),
            "target": "" if target is None else target.isoformat(),
            "position": "" if walk is None else walk.position.token,
        }

    def _act(
        self,
        change: Change,
        at: datetime | None,
        seen: Mapping[str, str] | None,
        *,
        resumes: bool,
    ) -> Response:
        visit, action, chosen = self._visit, self._action, self._chosen
        user, tally = visit.access.user, Tally()
        self._returned_to = self._origin()
        what = self._for_log(at, resumes=resumes)
        log_begun(user, what, chosen)
        try:
            expected = self._form.get("expected")
            carry_out_in_time(visit.timers, change, chosen, tally, expected, seen=seen)
        except Exception as error:
            # Whatever the error is, the log must have the changes made before.
            why = sentence_of(error, internals_of(visit.timers).runner) or type(error).__name__
            log_failed(user, what, chosen, f"{summary(action, tally)}; {escape(why)}")
            if tally.done and isinstance(error, (RedisError, TimersError)):
                return self._told(tally, at, f"{why[0].upper()}{escape(why[1:])}.")
            raise
        finally:
            # Dead letters return to topics that the form does not name.
            visit.forecasts.forget(None if action is REDRIVE else chosen.topic)
        log_ended(user, what, chosen, summary(action, tally))
        return self._told(tally, at, "")

    def _link_of(self, outcome: Outcome) -> Address | None:
        """Return the address of a timer after the action; None if it is gone or unknown."""
        if outcome.result == "unknown" or (outcome.result == "done" and self._action is CANCEL):
            return None
        if outcome.result == "done" and self._action is REDRIVE:
            return self._returned_to
        return self._visit.address.to(topic=self._chosen.topic, timer_id=outcome.timer_id)

    def _origin(self) -> Address | None:
        """Return where a dead letter returns to, if it is the only one named."""
        if self._action is not REDRIVE or len(self._chosen.timer_ids) != 1:
            return None
        timer = self._visit.timers.get_timer(self._chosen.topic, self._chosen.timer_ids[0])
        if timer is None or not is_dead_letter(timer.headers):
            return None
        topic, timer_id = timer.headers[TOPIC], timer.headers.get(TIMER_ID, "")
        prefix = internals_of(self._visit.timers).prefix
        # An occurrence of a series returns under its own id.
        if not timer_id or OCCURRENCE in timer.headers or not topic.startswith(prefix):
            return None
        return self._visit.address.to(topic=topic.removeprefix(prefix), timer_id=timer_id)

    def _for_log(self, at: datetime | None, *, resumes: bool) -> str:
        """Return the action for the audit log, with the new due time if it sets one."""
        name = self._action.name
        if name not in MOVES or at is None:
            return name
        more = " (paused ones resumed)" if resumes and self._chosen.timer_ids else ""
        return f"{name} to {exact_time(at)}{more}"

    def _told(self, tally: Tally, at: datetime | None, problem: str) -> Response:
        action = self._action
        text = summary(action, tally)
        goes_on = tally.is_cut and tally.done > 0 and not problem
        return self._visit.page(
            "outcome",
            action.words.title,
            status=503 if problem else 200,
            action=action,
            summary=f"{text[0].upper()}{text[1:]}.",
            problem=problem,
            rows=[
                (
                    name_of(one.timer_id),
                    self._link_of(one),
                    one.result == "done",
                    outcome_of(action, one),
                )
                for one in tally.named
            ],
            moved=None if at is None or action is not RESCHEDULE else moment(at, at),
            goes_on=goes_on,
            is_stuck=tally.is_cut and not goes_on and not problem,
            too_large=TOO_LARGE,
            **self._fields(at if action.name in MOVES else None, tally.walk),
            **_still(),
        )


def _still() -> dict[str, Any]:
    """Return the fields of a page that does not refresh itself."""
    return {"refresh_link": None, "left": "", "now": None}
