"""What all pages of timers in the admin share: frame, names, permissions, errors."""

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import Http404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.text import Truncator
from django.utils.translation import gettext
from redis.exceptions import RedisError

from faststream_redis_timers_sync.django.admin.actions import ACTIONS, Action
from faststream_redis_timers_sync.django.clients import get_client
from faststream_redis_timers_sync.django.conf import read_aliases
from faststream_redis_timers_sync.django.tokens import Place, read_place
from faststream_redis_timers_sync.manage.errors import sentence_of
from faststream_redis_timers_sync.manage.server import internals_of, server_time
from faststream_redis_timers_sync.manage.text import escape
from faststream_redis_timers_sync.manage.tokens import from_token
from faststream_redis_timers_sync.protocol.errors import TimersError

_TROUBLE = (RedisError, TimersError, ImproperlyConfigured, NotImplementedError)
"""Errors that become a page instead of a traceback; a fake client implements less."""

_MISTAKES = (TypeError, ValueError)
"""Errors that connections also raise if an option of redis-py has an invalid value."""

_LONGEST_TITLE = 100


class TimerPages(ModelAdmin):  # type: ignore[misc]  # Django has no types
    """The frame of the pages."""

    def may(self, request: Any, action: Action) -> bool:
        """Return whether the user may take an action.

        Args:
            request: The request.
            action: The action.
        """
        return bool(getattr(self, f"has_{action.permission}_permission")(request))

    def allowed_actions(self, request: Any) -> list[Action]:
        """Return the actions that the user may take.

        Args:
            request: The request.
        """
        return [action for action in ACTIONS.values() if self.may(request, action)]

    def guarded(self, request: Any, place: Place, answer: Callable[[], Any]) -> Any:
        """Respond to a user who may view timers; an unreachable server becomes an error page.

        Args:
            request: The request.
            place: The topic or timer of the page.
            answer: Makes the response.

        Raises:
            PermissionDenied: The user may not view timers.
        """
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        try:
            return answer()
        except _TROUBLE as error:
            sentence = _sentence(error, place.alias)
        except _MISTAKES:
            if mistake := _connection_mistake(place.alias):
                sentence = gettext("can't connect: %s") % mistake
            elif mistake := _topic_mistake(place):
                sentence = mistake
            else:
                raise
        context = {"sentence": sentence}
        response = self.page(request, "problem", gettext("Timers cannot be shown"), place, context)
        response.status_code = 503
        return response

    def page(
        self, request: Any, name: str, title: str, place: Place, context: Mapping[str, Any]
    ) -> Any:
        """Render a page of this admin site.

        Args:
            request: The request.
            name: The template.
            title: The page's title.
            place: The topic or timer of the page; the topic is empty if it is about an alias.
            context: The template's variables.
        """
        request.current_app = self.admin_site.name
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": Truncator(title).chars(_LONGEST_TITLE),
            "alias": place.alias,
            "place": place,
            "topic_name": escape(place.topic),
            "aliases": known_aliases(),
            "media": self.media,
        }
        template = f"admin/{self.opts.app_label}/{name}.html"
        return TemplateResponse(request, template, {**shared, **context})

    def list_url(self, request: Any, place: Place) -> str:
        """Return the URL of the list that a form came from, with its search.

        Args:
            request: The form.
            place: The topic.
        """
        url = self.url_of("topic", place)
        try:
            search = from_token(request.POST.get("search", ""))
            return f"{url}?{urlencode({'q': search})}" if search else url
        except ValueError:
            return url

    def url_of(self, page: str, place: Place) -> str:
        """Return the URL of a topic's or timer's page.

        Args:
            page: Which page.
            place: The topic or timer.
        """
        return reverse(  # type: ignore[no-any-return]
            f"admin:{self.url_name(page)}",
            args=[quote(place.key)],
            current_app=self.admin_site.name,
        )

    def url_name(self, page: str) -> str:
        """Return the name of a page's URL in the admin.

        Args:
            page: Which page.
        """
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"


def place_of(object_id: str) -> Place:
    """Read the part of a URL that names a topic or timer.

    Args:
        object_id: That part.

    Raises:
        Http404: It names neither.
    """
    try:
        return read_place(unquote(object_id))
    except ValueError:
        raise Http404 from None


def known_aliases() -> list[str]:
    """Return the aliases of `TIMERS`, as far as they are valid."""
    try:
        return list(read_aliases())
    except ImproperlyConfigured:
        return []


def _connection_mistake(alias: str) -> str | None:
    """Return the error if the connection of an alias has an invalid option."""
    try:
        server_time(get_client(alias))
    except _MISTAKES as error:
        return escape(str(error), keep="\\")
    except _TROUBLE:
        pass
    return None


def _topic_mistake(place: Place) -> str | None:
    """Return the error if a topic, which anybody may write into a URL, can have no keys."""
    reach = internals_of(get_client(place.alias))
    mistake = reach.keys.mistake_of(reach.full(place.topic)) if place.topic else ""
    return escape(mistake, keep="\\") or None


def _sentence(error: Exception, alias: str) -> str:
    """Return a sentence for an error, without secrets."""
    if isinstance(error, ImproperlyConfigured):
        return str(error)
    return str(sentence_of(error, internals_of(get_client(alias)).runner))
