"""What all pages of timers in the admin share: frame, names, permissions, what goes wrong."""

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
from faststream_redis_timers_sync.manage.server import inside, server_time
from faststream_redis_timers_sync.manage.text import escape
from faststream_redis_timers_sync.manage.tokens import from_token
from faststream_redis_timers_sync.protocol.errors import TimersError

_TROUBLE = (RedisError, TimersError, ImproperlyConfigured, NotImplementedError)
"""What becomes a page in place of a traceback; a client without a server implements less."""

_MISTAKES = (TypeError, ValueError)
"""What connections raise too, where an option of redis-py has a value that can't be."""

_LONGEST_TITLE = 100


class TimerPages(ModelAdmin):  # type: ignore[misc]  # Django has no types
    """The frame of the pages."""

    def may(self, request: Any, action: Action) -> bool:
        """Return whether somebody may do something.

        Args:
            request: Who asks.
            action: What to do.
        """
        return bool(getattr(self, f"has_{action.permission}_permission")(request))

    def allowed_actions(self, request: Any) -> list[Action]:
        """List what somebody may do.

        Args:
            request: Who asks.
        """
        return [action for action in ACTIONS.values() if self.may(request, action)]

    def guarded(self, request: Any, place: Place, answer: Callable[[], Any]) -> Any:
        """Answer those who may look; a server that can't be asked becomes a page that says so.

        Args:
            request: Who asks.
            place: What it is about.
            answer: Makes the response.

        Raises:
            PermissionDenied: They may not look.
        """
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        try:
            return answer()
        except _TROUBLE as error:
            sentence = _sentence(error, place.alias)
        except _MISTAKES:
            if mistake := _connection_mistake(place.alias):
                sentence = gettext("no connection can be made: %s") % mistake
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
        """Make a page as this admin site has them.

        Args:
            request: Who asks.
            name: The template.
            title: The page's title.
            place: What it is about; the topic is empty if it is all of an alias.
            context: What the template shows.
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
        """Name the list that a form came from, with what was searched for.

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
        """Name the page of a topic or timer.

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
        """Name a page as URLs are named in the admin.

        Args:
            page: Which page.
        """
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"


def place_of(object_id: str) -> Place:
    """Read the part of a URL that names a topic or timer.

    Args:
        object_id: That part.

    Raises:
        Http404: It names none.
    """
    try:
        return read_place(unquote(object_id))
    except ValueError:
        raise Http404 from None


def known_aliases() -> list[str]:
    """List the aliases of `TIMERS`, as far as it is in order."""
    try:
        return list(read_aliases())
    except ImproperlyConfigured:
        return []


def _connection_mistake(alias: str) -> str | None:
    """Find out whether the connection of an alias has an option that can't be, and what it says."""
    try:
        server_time(get_client(alias))
    except _MISTAKES as error:
        return escape(str(error), keep="\\")
    except _TROUBLE:
        pass
    return None


def _topic_mistake(place: Place) -> str | None:
    """Find out whether a topic, which anybody may write into a URL, can have no keys, and why."""
    reach = inside(get_client(place.alias))
    mistake = reach.keys.mistake_of(reach.full(place.topic)) if place.topic else ""
    return escape(mistake, keep="\\") or None


def _sentence(error: Exception, alias: str) -> str:
    """Say what is wrong, without a secret."""
    if isinstance(error, ImproperlyConfigured):
        return str(error)
    return str(sentence_of(error, inside(get_client(alias)).runner))
