"""Asks for confirmation of an action and performs it, over HTTP."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpResponseRedirect
from django.utils.translation import gettext
from redis.exceptions import RedisError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.django.admin.actions import (
    ACTIONS,
    MOVES,
    REDRIVE,
    RESCHEDULE,
    THE_REST,
    Action,
    confirmation,
    outcome_text,
    too_large,
)
from faststream_redis_timers_sync.django.admin.forecast import forecasts_of, holds_dead_letters
from faststream_redis_timers_sync.django.admin.formatting import Row, rows_of, zone_name
from faststream_redis_timers_sync.django.admin.forms import RescheduleForm, chosen_in
from faststream_redis_timers_sync.django.admin.log import log_done, log_unknown
from faststream_redis_timers_sync.django.admin.pages import TimerPages
from faststream_redis_timers_sync.django.clients import get_client
from faststream_redis_timers_sync.django.tokens import Place
from faststream_redis_timers_sync.manage import wording
from faststream_redis_timers_sync.manage.changing import Change, Reschedule, Tally
from faststream_redis_timers_sync.manage.chosen import Chosen, Preview
from faststream_redis_timers_sync.manage.forms import (
    carry_out_in_time,
    change_named,
    marks_text,
    preview_in_time,
    read_marks,
)
from faststream_redis_timers_sync.manage.server import server_time
from faststream_redis_timers_sync.manage.walking import Position, read_position
from faststream_redis_timers_sync.protocol.errors import (
    TimerNotReplicatedError,
    TimerOutcomeUnknownError,
    TimersError,
)


class ChangingPages(TimerPages):
    """The page that asks for confirmation of an action."""

    def answer_action(self, request: Any, place: Place) -> Any:
        """Respond to the form of a list.

        Args:
            request: The form.
            place: The topic of the list.

        Raises:
            BadRequest: The form was not made by these pages.
            PermissionDenied: The user lacks the permission.
        """
        action = ACTIONS.get(request.POST.get("action", ""))
        if action is None:
            return self._nothing(request, place, gettext("No action selected."))
        try:
            chosen = chosen_in(place, request.POST, request.POST.getlist("_selected_action"))
        except ValueError as error:
            raise BadRequest(str(error)) from error
        if chosen is None:
            words = gettext(wording.SELECT_FIRST)
            return self._nothing(request, place, words)
        return self.ask_or_act(request, place, action, chosen)

    def ask_or_act(self, request: Any, place: Place, action: Action, chosen: Chosen) -> Any:
        """Ask for confirmation of an action; perform it once it is confirmed.

        Args:
            request: The request. A POST with ``post`` confirms.
            place: The topic.
            action: The action.
            chosen: The timers to act on.

        Raises:
            PermissionDenied: The user lacks the permission.
        """
        if not self.may(request, action):
            raise PermissionDenied
        timers = get_client(place.alias)
        target = _read_target(request) if action in MOVES else None
        is_sure = request.method == "POST" and "post" in request.POST
        form, cut = None, None
        if action is RESCHEDULE and target is None:
            form = RescheduleForm(request.POST if is_sure else None)
        if is_sure and (form is None or form.is_valid()):
            now = server_time(timers, place.topic)
            if form:
                at = form.due_at(now)
            elif target and action is RESCHEDULE:
                at = target
            else:
                # What is to run now is due now, whatever the form says.
                at = now
            moved_to = at if target else None
            after, resumes = _read_position(request), "resumes" in request.POST
            change = change_named(action.name, at, moved_to, after=after, resumes=resumes)
            cut = self._act(request, place, action, chosen, change)
            if form and at and at < now:
                words = gettext("That time is past: due at once.")
                self.message_user(request, words, messages.WARNING)
            if cut is None:
                return HttpResponseRedirect(self.list_url(request, place))
            form, target = None, at if action in MOVES else None
        seen = THE_REST
        if cut is None:
            seen = preview_in_time(timers, action.name, chosen)
        if not seen.count and cut is None:
            words = gettext(wording.none_of(chosen))
            return self._nothing(request, place, too_large() if seen.is_cut else words)
        rows = _rows(timers, place, seen)
        context = {
            "action": action,
            "seen": seen,
            "rows": rows,
            "has_series": any(row.repeats for row in rows),
            "zone": zone_name(seen.at) if seen.at else "",
            **confirmation(action, chosen, seen),
            "form": form,
            "media": self.media + form.media if form else self.media,
            "expected": "" if seen.is_cut else f"{seen.count}",
            # In the order of the rows, which the form names.
            "marks": marks_text((timer.timer_id for timer in seen.timers), seen),
            "search_token": request.POST.get("search", ""),
            "target": target and target.isoformat(),
            "position": cut and cut.walk and cut.walk.position.token,
            "resumes": action in MOVES and chosen.timer_ids and seen.paused,
            "topic_url": self.url_of("topic", place),
            "back": self.list_url(request, place),
        }
        return self.page(request, "confirm", gettext(action.words.title), place, context)

    def _act(
        self, request: Any, place: Place, action: Action, chosen: Chosen, change: Change
    ) -> Tally | None:
        """Perform and log an action; return the outcomes if time ran out, to ask for the rest."""
        tally = Tally()
        expected, seen = request.POST.get("expected", ""), _read_marks(request, chosen)
        try:
            carry_out_in_time(get_client(place.alias), change, chosen, tally, expected, seen=seen)
        except (RedisError, TimersError) as error:
            if tally.done:
                words = gettext("Before this: %s") % outcome_text(action, tally)
                self.message_user(request, words, messages.WARNING)
            if isinstance(error, (TimerOutcomeUnknownError, TimerNotReplicatedError)):
                log_unknown(request.user, place, action, error)
            raise
        finally:
            # Dead letters return to topics that the form does not name.
            forecasts_of(get_client(place.alias)).forget(None if action is REDRIVE else place.topic)
            # Also what was done before something failed.
            at = change.activate_at if isinstance(change, Reschedule) else None
            log_done(request.user, place, action, chosen, tally, at=at)
        level = messages.SUCCESS if tally.done else messages.WARNING
        self.message_user(request, outcome_text(action, tally), level)
        if not tally.is_cut:
            return None
        # If not one timer was found, the next request would find none either.
        words = gettext("There was no time for all of them.") if tally.done else too_large()
        self.message_user(request, words, messages.WARNING)
        return tally if tally.done else None

    def _nothing(self, request: Any, place: Place, words: str) -> Any:
        self.message_user(request, words, messages.WARNING)
        return HttpResponseRedirect(self.list_url(request, place))


def _read_marks(request: Any, chosen: Chosen) -> Mapping[str, str] | None:
    try:
        return read_marks(chosen, request.POST.get("seen", ""))
    except ValueError as error:
        raise BadRequest(str(error)) from error


def _read_position(request: Any) -> Position | None:
    """Read where an earlier form's changes ended."""
    try:
        return read_position(request.POST.get("position", ""))
    except ValueError as error:
        raise BadRequest(str(error)) from error


def _rows(timers: TimersClient, place: Place, seen: Preview) -> list[Row]:
    """Return the rows of the timers to confirm, if they are few enough to be shown."""
    if seen.at is None:
        return []
    are_dead = holds_dead_letters(timers, place.topic)
    return rows_of(seen.timers, place, seen.at, are_dead=are_dead)


def _read_target(request: Any) -> datetime | None:
    """Read the exact time to which earlier forms have rescheduled timers."""
    target = request.POST.get("target")
    if not target:
        return None
    try:
        time = datetime.fromisoformat(target)
    except ValueError as error:
        raise BadRequest(str(error)) from error
    if time.utcoffset() is None:
        msg = f"target has no time zone: {target!r}"
        raise BadRequest(msg)
    return time
