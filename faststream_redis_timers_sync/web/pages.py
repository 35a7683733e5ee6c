"""`TimerPages`: turns a request into a page, whatever happens."""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from redis.exceptions import RedisError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.errors import is_unreachable, sentence_of
from faststream_redis_timers_sync.manage.forecast import Forecasts
from faststream_redis_timers_sync.manage.scanning import read_scan
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.manage.text import escape
from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.web.access import Access, Allow, AskPassword
from faststream_redis_timers_sync.web.addresses import Address, read_address
from faststream_redis_timers_sync.web.arguments import (
    check_function,
    read_lease,
    read_links,
    read_topics,
)
from faststream_redis_timers_sync.web.asgi import AsgiPages
from faststream_redis_timers_sync.web.changing import ask_or_act
from faststream_redis_timers_sync.web.guard import (
    HEADERS,
    NO_STORE,
    check_origin,
    read_form,
    read_origins,
)
from faststream_redis_timers_sync.web.messages import RefusedError, Request, Response
from faststream_redis_timers_sync.web.rendering import asset
from faststream_redis_timers_sync.web.timer import timer_page
from faststream_redis_timers_sync.web.topic import topic_page
from faststream_redis_timers_sync.web.topics import topics_page
from faststream_redis_timers_sync.web.visit import Visit, problem_page
from faststream_redis_timers_sync.web.wsgi import WsgiPages

_log = logging.getLogger("faststream_redis_timers_sync.web")

ShowBody = Callable[[str, Timer], bytes | None]
"""Returns the part of a timer's body that may be shown; None shows only its size."""


class TimerPages:
    """Web pages of topics and timers, as an ASGI and a WSGI application.

    Mount ``pages.asgi`` or ``pages.wsgi`` under any path. All pages have this one path; their
    addresses differ only in the query. `allow` decides who may see and do what; the pages have no
    authentication.

    Args:
        timers: The client, or a function that returns it for each request. It is never closed.
        allow: Called with each `Request`. Returns `Access` to let it through, `AskPassword` or
            None to refuse it. It can't be async: under ASGI it is called in a thread, so it may
            block.
        topics: The topics that the application names, or a function that returns them. Others are
            found through their workers, or by a scan that a user starts.
        longest_lease: The longest `lease_ttl` of the topics' subscribers, in seconds or as a
            `timedelta`. With it the page of topics counts running timers.
        show_body: Called with topic and `Timer`, returns the bytes of the body that may be shown:
            ``lambda topic, timer: timer.body`` shows all. If it returns None, or is None, the page
            shows only the size.
        origins: The pages' origin as browsers see it, such as ``https://ops.example.com``, if a
            proxy changes the host and browsers don't send `Sec-Fetch-Site`.
        links: Links in the head of all pages, each as (text, address).

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value.
    """

    def __init__(  # noqa: PLR0913  what an application says of its pages
        self,
        timers: TimersClient | Callable[[], TimersClient],
        *,
        allow: Allow,
        topics: Iterable[str] | Callable[[], Iterable[str]] = (),
        longest_lease: timedelta | float | None = None,
        show_body: ShowBody | None = None,
        origins: Iterable[str] = (),
        links: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Check the arguments; nothing is sent."""
        if not isinstance(timers, TimersClient):
            if not callable(timers):
                msg = (
                    f"timers must be a TimersClient or a function that returns one, got {timers!r}"
                )
                raise TypeError(msg)
            check_function("timers", timers)
        check_function("allow", allow)
        if show_body is not None:
            check_function("show_body", show_body)
        if callable(topics):
            check_function("topics", topics)
        self._client = timers
        self._allow = allow
        self._topics = topics if callable(topics) else read_topics(topics)
        self._longest_lease = read_lease(longest_lease)
        self._show_body = show_body
        self._origins = read_origins(origins)
        self._links = read_links(links)
        self._outage = _Outage()
        self._forecasts: tuple[TimersClient, Forecasts] | None = None
        self.asgi = AsgiPages(self.answer)
        """The pages as an ASGI application."""
        self.wsgi = WsgiPages(self.answer)
        """The pages as a WSGI application."""

    def __call__(self, *_: object) -> NoReturn:
        """Refuse to be mounted: use `asgi` or `wsgi`.

        Raises:
            TypeError: Always.
        """
        msg = "TimerPages is not an application: mount pages.asgi or pages.wsgi"
        raise TypeError(msg)

    def answer(self, request: Request) -> Response:
        """Answer a request; never raises.

        Args:
            request: The request.
        """
        try:
            response = self._answer(request)
        except RefusedError as error:
            response = self._problem(error.status, error.title, str(error), error.headers)
        except Exception:  # noqa: BLE001  whatever it is, the response needs its security headers
            _log.exception("a page of timers could not be made")
            sentence = "The page could not be made. See the application's log."
            response = self._problem(500, "Error", sentence)
        names = {name for name, _ in response.headers}
        headers = [*response.headers, *(one for one in HEADERS if one[0] not in names)]
        if NO_STORE[0] not in names:
            headers.append(NO_STORE)
        return Response(response.status, response.body, response.content_type, headers)

    def _answer(self, request: Request) -> Response:
        if request.method not in {"GET", "HEAD", "POST"}:
            msg = "Pages allow only GET, HEAD and POST."
            raise RefusedError(405, "Method not allowed", msg, [("Allow", "GET, HEAD, POST")])
        address = read_address(request.query)
        is_post = request.method == "POST"
        if address.asset and not is_post:
            return _asset(address)
        if is_post:
            check_origin(request, self._origins)
        access = self._access(request)
        visit = self._visit(access, address)
        _check_topic(visit)
        try:
            if is_post:
                response = _do(visit, request)
            elif address.timer_id:
                response = timer_page(visit)
            elif address.topic:
                response = topic_page(visit)
            else:
                response = topics_page(visit, None)
        except (RedisError, TimersError, NotImplementedError) as error:
            return self._trouble(error, visit)
        self._outage.end()
        return response

    def _access(self, request: Request) -> Access:
        access = self._allow(request)
        if isinstance(access, AskPassword):
            challenge = ("WWW-Authenticate", f'Basic realm="{access.realm}", charset="UTF-8"')
            msg = "Sign in to see these pages."
            raise RefusedError(401, "Sign in", msg, [challenge])
        if access is None:
            raise RefusedError(403, "Refused", "You may not see these pages.")
        if not isinstance(access, Access):
            msg = f"allow must return Access, AskPassword or None, got {access!r}"
            raise TypeError(msg)
        return access

    def _visit(self, access: Access, address: Address) -> Visit:
        client = self._client if isinstance(self._client, TimersClient) else self._client()
        return Visit(
            timers=client,
            forecasts=self._forecasts_of(client),
            access=access,
            address=address,
            topics=self._topics if isinstance(self._topics, tuple) else read_topics(self._topics()),
            longest_lease=self._longest_lease,
            show_body=self._show_body,
            links=self._links,
        )

    def _forecasts_of(self, client: TimersClient) -> Forecasts:
        # An application may return another client after a fork, or in a test.
        kept = self._forecasts
        if kept is None or kept[0] is not client:
            kept = self._forecasts = client, Forecasts(client)
        return kept[1]

    def _trouble(self, error: Exception, visit: Visit) -> Response:
        sentence = sentence_of(error, internals_of(visit.timers).runner) or str(error)
        sentence = f"{sentence[0].upper()}{escape(sentence[1:], keep=chr(92))}."
        if not is_unreachable(error):
            return self._problem(503, "Problem with Redis", sentence)
        since = self._outage.begin()
        return self._problem(
            503,
            "Redis can't be reached",
            f"{sentence} Not reached since {since:%Y-%m-%d %H:%M:%S} UTC, by the clock of this "
            "process. Timers are safe in Redis, and workers resume by themselves.",
        )

    def _problem(
        self, status: int, title: str, sentence: str, headers: Iterable[tuple[str, str]] = ()
    ) -> Response:
        return problem_page(status, title, sentence, self._links, headers)


def _check_topic(visit: Visit) -> None:
    """Refuse an invalid topic: an address may contain anything."""
    topic = visit.address.topic
    reach = internals_of(visit.timers)
    if topic and (mistake := reach.keys.mistake_of(reach.full(topic))):
        raise RefusedError(400, "Bad address", f"The {escape(mistake, keep=chr(92))}.")


def _do(visit: Visit, request: Request) -> Response:
    form = read_form(request)
    if visit.address.do == "scan":
        return topics_page(visit, read_scan(form.get("scan")))
    return ask_or_act(visit, form)


def _asset(address: Address) -> Response:
    found = asset(address.asset)
    # Under an old hash it is not the version that the page wants, so it is not cached.
    kept = "private, max-age=31536000, immutable" if address.v == found.v else "no-store"
    return Response(200, found.body, found.content_type, [("Cache-Control", kept)])


@dataclass(slots=True)
class _Outage:
    """Since when the server has been unreachable, for all threads."""

    since: datetime | None = None
    _lock: Any = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def begin(self) -> datetime:
        with self._lock:
            self.since = self.since or datetime.now(UTC)
            return self.since

    def end(self) -> None:
        with self._lock:
            self.since = None
