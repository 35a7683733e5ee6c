"""The admin of timers: its URLs, and the views of topics and timers."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path
from django.utils.translation import gettext

from faststream_redis_timers_sync.django.admin.actions import (
    CANCEL,
    PAUSE,
    REDRIVE,
    RESCHEDULE,
    RESUME,
    RUN_NOW,
    Action,
)
from faststream_redis_timers_sync.django.admin.changing import ChangingPages
from faststream_redis_timers_sync.django.admin.pages import known_aliases, place_of
from faststream_redis_timers_sync.django.admin.timers import timer_page, timers_page
from faststream_redis_timers_sync.django.admin.topics import topics_page
from faststream_redis_timers_sync.django.clients import get_client
from faststream_redis_timers_sync.django.conf import DEFAULT_ALIAS, read_alias
from faststream_redis_timers_sync.django.models import Timer
from faststream_redis_timers_sync.django.tokens import Place, read_place
from faststream_redis_timers_sync.manage.chosen import Chosen
from faststream_redis_timers_sync.manage.scanning import read_scan
from faststream_redis_timers_sync.manage.text import escape


class TimerAdmin(ChangingPages):
    """Shows topics and timers, changes and cancels timers, and redrives dead letters.

    Users with the permission to view timers see them; to cancel them they need the permission to
    delete, to reschedule, run now, pause, resume and redrive them the permission to change. Nothing
    is scheduled here.

    It is registered with the default site. For another site::

        site.register(Timer, TimerAdmin)
    """

    def get_urls(self) -> list[Any]:
        """Add the pages that other models do not have."""

        def wrap(view: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return self.admin_site.admin_view(view)(*args, **kwargs)

            return update_wrapper(wrapper, view)

        return [
            path("topic/<str:key>/", wrap(self.topic_view), name=self.url_name("topic")),
            *(
                path(f"<str:object_id>/{name}/", wrap(view), name=self.url_name(name))
                for name, view in (
                    ("reschedule", self.reschedule_view),
                    ("run_now", self.run_now_view),
                    ("pause", self.pause_view),
                    ("resume", self.resume_view),
                    ("redrive", self.redrive_view),
                )
            ),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: Any) -> bool:
        """Return False: only programs schedule timers."""
        return False

    def get_object(self, request: Any, object_id: str, from_field: Any = None) -> Timer | None:
        """Return the object that stands for a timer or topic, whether or not it is pending."""
        try:
            read_place(object_id)
        except ValueError:
            return None
        return Timer(key=object_id)

    def add_view(self, request: Any, form_url: str = "", extra_context: Any = None) -> Any:
        """Refuse it."""
        raise PermissionDenied

    def changelist_view(self, request: Any, extra_context: Any = None) -> Any:
        """Show the topics of an alias; a POST scans for more."""
        alias = request.GET.get("alias") or next(iter(known_aliases()), DEFAULT_ALIAS)
        place = Place(alias, "")

        def answer() -> Any:
            if topic := request.GET.get("topic"):
                return HttpResponseRedirect(self.url_of("topic", Place(alias, topic)))
            known = read_alias(alias).topics
            scan = read_scan(request.POST.get("scan", "")) if request.method == "POST" else None
            page = topics_page(get_client(alias), alias, known, scan, request.GET.get("range", ""))
            context = {**page, **(extra_context or {})}
            return self.page(request, "topics", gettext("Topics"), place, context)

        return self.guarded(request, place, answer)

    def topic_view(self, request: Any, key: str) -> Any:
        """Show the timers of a topic; a POST asks about an action, or performs it."""
        place = place_of(key)
        if place.timer_id:
            raise Http404

        def answer() -> Any:
            if request.method == "POST":
                return self.answer_action(request, place)
            page = timers_page(
                get_client(place.alias),
                place,
                request.GET.get("q", ""),
                request.GET.get("only", ""),
                request.GET.get("after", ""),
                request.GET.get("range", ""),
            )
            if page is None:
                return HttpResponseRedirect(self.url_of("topic", place))
            return self.page(
                request,
                "timers",
                gettext("Timers of %s") % escape(place.topic),
                place,
                {**page, "actions": self.allowed_actions(request)},
            )

        return self.guarded(request, place, answer)

    def change_view(
        self, request: Any, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show a timer."""
        if request.method == "POST":
            return HttpResponseNotAllowed(["GET", "HEAD"])
        place = place_of(object_id)
        if not place.timer_id:
            return HttpResponseRedirect(self.url_of("topic", place))

        def answer() -> Any:
            page = timer_page(get_client(place.alias), place)
            if page is None:
                return self._not_pending(request, place)
            context = {
                **page,
                "actions": self.allowed_actions(request),
                **(extra_context or {}),
            }
            return self.page(request, "timer", escape(place.timer_id), place, context)

        return self.guarded(request, place, answer)

    def delete_view(self, request: Any, object_id: str, extra_context: Any = None) -> Any:
        """Ask whether to cancel a timer; a POST cancels it."""
        return self._one_view(request, object_id, CANCEL)

    def reschedule_view(self, request: Any, object_id: str) -> Any:
        """Ask for a timer's new due time; a POST reschedules it."""
        return self._one_view(request, object_id, RESCHEDULE)

    def run_now_view(self, request: Any, object_id: str) -> Any:
        """Ask whether to run a timer now; a POST makes it due."""
        return self._one_view(request, object_id, RUN_NOW)

    def pause_view(self, request: Any, object_id: str) -> Any:
        """Ask whether to pause a recurring timer; a POST pauses it."""
        return self._one_view(request, object_id, PAUSE)

    def resume_view(self, request: Any, object_id: str) -> Any:
        """Ask whether to resume a recurring timer; a POST resumes it."""
        return self._one_view(request, object_id, RESUME)

    def redrive_view(self, request: Any, object_id: str) -> Any:
        """Ask whether to redrive a dead letter; a POST redrives it."""
        return self._one_view(request, object_id, REDRIVE)

    def _one_view(self, request: Any, object_id: str, action: Action) -> Any:
        place = place_of(object_id)
        if not place.timer_id:
            raise Http404
        chosen = Chosen(topic=place.topic, timer_ids=(place.timer_id,))
        topic = place.whole_topic
        return self.guarded(request, topic, lambda: self.ask_or_act(request, topic, action, chosen))

    def _not_pending(self, request: Any, place: Place) -> Any:
        words = gettext("Timer “%s” is no longer pending: it was delivered or cancelled.")
        self.message_user(request, words % escape(place.timer_id), messages.WARNING)
        return HttpResponseRedirect(self.url_of("topic", place.whole_topic))
