"""Asking about an action and doing it: the admin's side of `performing`."""

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpResponseRedirect
from django.utils.translation import gettext
from redis.exceptions import RedisError

from faststream_redis_timers_sync.console.changes import Chosen
from faststream_redis_timers_sync.django.admin.actions import (
    ACTIONS,
    RESCHEDULE,
    Action,
    Tally,
    confirmation,
    outcome_text,
)
from faststream_redis_timers_sync.django.admin.forms import RescheduleForm
from faststream_redis_timers_sync.django.admin.log import log_done, log_unknown
from faststream_redis_timers_sync.django.admin.pages import TimerPages
from faststream_redis_timers_sync.django.admin.performing import Due, perform, preview, read_chosen
from faststream_redis_timers_sync.django.clients import get_client
from faststream_redis_timers_sync.django.tokens import Place
from faststream_redis_timers_sync.manage.server import server_time
from faststream_redis_timers_sync.protocol.errors import TimerOutcomeUnknownError, TimersError


class ChangingPages(TimerPages):
    """The page between asking for an action and doing it."""

    def answer_action(self, request: Any, place: Place) -> Any:
        """Answer a list's form.

        Args:
            request: The form.
            place: The topic that the list is of.

        Raises:
            BadRequest: It is no form of ours.
            PermissionDenied: Who sent it may not do that.
        """
        action = ACTIONS.get(request.POST.get("action", ""))
        if action is None:
            return self._nothing(request, place, gettext("No action selected."))
        try:
            chosen = read_chosen(place, request.POST, request.POST.getlist("_selected_action"))
        except ValueError as error:
            raise BadRequest(str(error)) from error
        if chosen is None:
            words = gettext("Select timers first, then say what to do with them.")
            return self._nothing(request, place, words)
        return self.ask_or_act(request, place, action, chosen)

    def ask_or_act(self, request: Any, place: Place, action: Action, chosen: Chosen) -> Any:
        """Ask whether somebody is sure; do it if they are.

        Args:
            request: Who asks. A POST that has ``post`` is sure.
            place: The topic.
            action: What to do.
            chosen: What to do it to.

        Raises:
            PermissionDenied: They may not do that.
        """
        if not self.may(request, action):
            raise PermissionDenied
        timers = get_client(place.alias)
        moved_to = _read_target(request) if action is RESCHEDULE else None
        is_sure = request.method == "POST" and "post" in request.POST
        form, is_cut = None, False
        if action is RESCHEDULE and moved_to is None:
            form = RescheduleForm(request.POST if is_sure else None)
        if is_sure and (form is None or form.is_valid()):
            now = server_time(timers)
            at = form.due_at(now) if form else moved_to
            is_cut = self._act(request, place, action, chosen, Due(at, moved_to))
            if form and at and at < now:
                words = gettext("That time is past: due at once.")
                self.message_user(request, words, messages.WARNING)
            if not is_cut:
                return HttpResponseRedirect(self.list_url(request, place))
            form, moved_to = None, at
        seen = preview(timers, place, chosen, moved_to)
        if not seen.count:
            if is_cut:
                return HttpResponseRedirect(self.list_url(request, place))
            words = gettext("Nothing to do: none of them is pending any more.")
            return self._nothing(request, place, words)
        context = {
            "action": action,
            "seen": seen,
            **confirmation(action, chosen, seen, goes_on=is_cut),
            "form": form,
            "media": self.media + form.media if form else self.media,
            "search_token": request.POST.get("search", ""),
            "target": moved_to and moved_to.isoformat(),
            "topic_url": self.url_of("topic", place),
            "back": self.list_url(request, place),
        }
        return self.page(request, "confirm", action.title, place, context)

    def _act(self, request: Any, place: Place, action: Action, chosen: Chosen, due: Due) -> bool:
        """Do it, log it and say so; tell whether there was no time for all."""
        tally = Tally()
        expected = request.POST.get("expected", "")
        known = int(expected) if expected.isdecimal() else 0
        try:
            perform(get_client(place.alias), action, chosen, due, tally, known)
        except (RedisError, TimersError) as error:
            if tally.done:
                words = gettext("Before this: %s") % outcome_text(action, tally)
                self.message_user(request, words, messages.WARNING)
            if isinstance(error, TimerOutcomeUnknownError):
                log_unknown(request.user, place, action, error)
            raise
        finally:
            # Also what was done before something failed.
            log_done(request.user, place, action, chosen, tally, at=due.at)
        level = messages.SUCCESS if tally.done else messages.WARNING
        self.message_user(request, outcome_text(action, tally), level)
        if tally.is_cut:
            self.message_user(
                request, gettext("There was no time for all of them."), messages.WARNING
            )
        return tally.is_cut

    def _nothing(self, request: Any, place: Place, words: str) -> Any:
        self.message_user(request, words, messages.WARNING)
        return HttpResponseRedirect(self.list_url(request, place))


def _read_target(request: Any) -> datetime | None:
    """Read where a form that goes on has moved timers to, exactly."""
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
