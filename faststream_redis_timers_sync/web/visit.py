"""The context of a page: user, address and client, and the frame that all pages share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.forecast import Forecast, Forecasts
from faststream_redis_timers_sync.manage.text import escape
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.web.access import Access
from faststream_redis_timers_sync.web.addresses import Address, Refresh
from faststream_redis_timers_sync.web.formatting import name_of
from faststream_redis_timers_sync.web.messages import Response
from faststream_redis_timers_sync.web.rendering import asset, render

DEAD_ENDING = ":dead"
"""The usual ending of dead-letter topics. It identifies those that no forecast can identify by
their timers: empty topics, and topics that are not among the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request that was allowed.

    Args:
        timers: The client.
        forecasts: The forecasts of its topics.
        access: The user and their rights.
        address: The requested address.
        topics: The topics that the application names.
        longest_lease: The longest lease of subscribers; None if it is unknown.
        show_body: Returns the part of a body that may be shown, see `TimerPages`.
        links: Links for the head of the page.
    """

    timers: TimersClient
    forecasts: Forecasts
    access: Access
    address: Address
    topics: Sequence[str]
    longest_lease: timedelta | None
    show_body: Callable[[str, Timer], bytes | None] | None
    links: Sequence[tuple[str, str]]

    def holds_dead_letters(self, forecast: Forecast | None = None) -> bool:
        """Return whether the topic holds dead letters: by its timers or, if empty, by its name.

        Args:
            forecast: A forecast of the topic; None makes one.
        """
        topic = self.address.topic
        forecast = forecast or self.forecasts.of([topic])
        return bool(forecast.dead_topics) or topic.endswith(DEAD_ENDING)

    def page(self, template: str, title: str, *, status: int = 200, **context: Any) -> Response:
        """Make a page.

        Args:
            template: The name of the template.
            title: The page's title.
            status: The status code.
            context: The template's variables.
        """
        here = self.address.but(do="")
        body = render(
            template,
            title=title,
            user=escape(self.access.user),
            address=self.address,
            home=self.address.to(),
            topic_name=name_of(self.address.topic) if self.address.topic else "",
            topic_link=self.address.to(topic=self.address.topic),
            refreshes=[
                (seconds, here.but(refresh="" if seconds == "0" else seconds, seen=""))
                for seconds in get_args(Refresh)
            ],
            **_frame(self.links),
            **context,
        )
        return Response(status, body)


def problem_page(
    status: int,
    title: str,
    sentence: str,
    links: Sequence[tuple[str, str]],
    headers: Iterable[tuple[str, str]] = (),
) -> Response:
    """Make a page for an error.

    Args:
        status: The status code.
        title: The error in a few words.
        sentence: The problem and its remedy.
        links: Links for the head of the page.
        headers: Further headers.
    """
    body = render(
        "problem", title=title, sentence=sentence, user="", home=Address(), **_frame(links)
    )
    return Response(status, body, headers=list(headers))


def _frame(links: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "links": links,
        **{name: Address(asset=name, v=asset(name).v) for name in ("css", "js", "icon")},
    }
