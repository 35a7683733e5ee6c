"""Timers in Flask: an extension with a client per app, and the commands ``flask timers ...``.

    timers = FlaskTimers()

    def create_app():
        app = Flask(__name__)
        app.config["TIMERS_URL"] = "redis://localhost:6379/1"
        timers.init_app(app)
        return app

Views schedule and cancel timers with ``timers.client``; FastStream workers of
`faststream_redis_timers` deliver them.
"""

import copy
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import urlencode

from faststream_redis_timers_sync.protocol.extras import missing_extra

try:
    import click
    from flask import Blueprint, Flask, Response, current_app, has_app_context, request
    from flask.cli import with_appcontext
except ModuleNotFoundError as error:
    if error.name not in {"click", "flask"}:
        raise
    raise missing_extra(__name__, error, "flask") from None

from faststream_redis_timers_sync._settings import (
    ClientSettings,
    Place,
    load_series,
    make_client,
    read_settings,
)
from faststream_redis_timers_sync.cli.commands import COMMANDS
from faststream_redis_timers_sync.cli.series import run_series, series_options
from faststream_redis_timers_sync.cli.source import BadServerError, Source
from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.console.errors import EXIT_CODES
from faststream_redis_timers_sync.protocol.model import Series
from faststream_redis_timers_sync.web.access import Allow
from faststream_redis_timers_sync.web.pages import ShowBody, TimerPages

__all__ = ("FlaskTimers",)

_NAME = "timers"
"""The key in `app.extensions`, and the name of the command group."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""All methods: the pages refuse unknown ones themselves, with their security headers."""

_PLACE = Place("app.config", ValueError, prefix="TIMERS_")


class FlaskTimers:
    """Brings timers to Flask apps; it has no state, so one object serves all apps.

    `app.config` names the server: ``TIMERS_URL``, or ``TIMERS_CLIENT``, a callable (or its dotted
    path) that returns a `redis.Redis` or a `TimersClient`, for example a `FakeTimersClient`. With
    a URL you may set ``TIMERS_OPTIONS``, a dict of redis-py's options.
    ``TIMERS_PREFIX``, ``TIMERS_TIMELINE_KEY``, ``TIMERS_PAYLOADS_KEY``, ``TIMERS_ATTEMPTS_KEY``,
    ``TIMERS_SERIES_KEY``, ``TIMERS_HASH_TAGS``, ``TIMERS_CONFIRM_REPLICAS`` and
    ``TIMERS_CONFIRM_TIMEOUT`` are arguments of `TimersClient`; ``TIMERS_TOPICS`` are the topics
    that ``flask timers topics``, ``stats``, ``forecast`` and ``watch`` know without searching.
    ``TIMERS_SERIES`` are the series that ``flask timers series`` creates and updates: a list of
    `Series`, a function that returns one, or the dotted path of either; ``TIMERS_SERIES_OWNER`` is
    their owner. None means no entry.

    Args:
        app: An app for `init_app`.
    """

    def __init__(self, app: Flask | None = None) -> None:
        """Set up the app, if one is given."""
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up an app: check its config, add its commands. Nothing is sent.

        Args:
            app: The app, with its config.

        Raises:
            ValueError: The config is invalid.
        """
        timers = _AppTimers(app)
        timers.read()
        app.extensions[_NAME] = timers
        app.cli.add_command(_make_group(timers))

    @property
    def client(self) -> TimersClient:
        """The client of the current app, one object for all threads of a process.

        It is made on first use, and again if the app's config changes, as in tests. A client that
        ``TIMERS_CLIENT`` made is never closed.

        Raises:
            RuntimeError: There is no current app, or it is not set up.
            ValueError: No client can be made from the app's config.
        """
        return _of_current_app().client

    def blueprint(
        self,
        *,
        allow: Allow,
        name: str = _NAME,
        longest_lease: timedelta | float | None = None,
        show_body: ShowBody | None = None,
        origins: Iterable[str] = (),
        links: Iterable[tuple[str, str]] = (),
    ) -> Blueprint:
        """Make a blueprint of web pages that show and change the current app's timers.

            app.register_blueprint(timers.blueprint(allow=allow), url_prefix="/timers")

        There is no argument for topics: the pages list those of ``TIMERS_TOPICS`` in the app's
        config, and those that workers listen to. `allow` is called inside the request, so
        Flask-Login's ``current_user`` is available. The pages check the origin of forms
        themselves: exempt the blueprint from Flask-WTF's ``CSRFProtect``, whose tokens they don't
        have.

        Args:
            allow: Decides for each request who may see and do what, see `TimerPages`.
            name: The blueprint's name. Its endpoint is ``timers.pages`` by default; give another
                if the app has a blueprint of that name.
            longest_lease: As in `TimerPages`.
            show_body: As in `TimerPages`.
            origins: As in `TimerPages`.
            links: As in `TimerPages`.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument has an invalid value.
        """
        pages = TimerPages(
            lambda: _of_current_app().client,
            allow=allow,
            topics=lambda: _of_current_app().read().topics,
            longest_lease=longest_lease,
            show_body=show_body,
            origins=origins,
            links=links,
        )

        def show() -> Any:
            return Response.from_app(pages.wsgi, _environ_with_body())

        blueprint = Blueprint(name, __name__)
        blueprint.add_url_rule("/", "pages", show, methods=_METHODS)
        return blueprint


def _environ_with_body() -> dict[str, Any]:
    """Return WSGI's environ of the request, with a form that the app has read before."""
    # Flask sets this attribute when a function such as `before_request` reads form or data.
    if "stream" not in vars(request) or not request.form:
        return request.environ
    body = urlencode(list(request.form.items(multi=True))).encode()
    length = str(len(body))
    return {**request.environ, "wsgi.input": BytesIO(body), "CONTENT_LENGTH": length}


def _of_current_app() -> "_AppTimers":
    if not has_app_context():
        msg = (
            "timers.client needs a current app: use it in a view or a command, "
            "or inside 'with app.app_context():'"
        )
        raise RuntimeError(msg)
    timers: _AppTimers | None = current_app.extensions.get(_NAME)
    if timers is None:
        msg = f"the app {current_app.name!r} has no timers: call FlaskTimers().init_app(app)"
        raise RuntimeError(msg)
    return timers


class _Made(NamedTuple):
    """A client that was made."""

    client: TimersClient
    config: dict[str, Any]
    """The config that it was made from."""

    def __repr__(self) -> str:
        """Show only the keys of the config: a value may hold a password."""
        return f"{type(self).__name__}({self.client!r}, {', '.join(self.config)})"


class _AppTimers:
    """The timers of one app: what `app.extensions` holds.

    Args:
        app: The app.
    """

    def __init__(self, app: Flask) -> None:
        """Make no client yet."""
        self._config = app.config
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Start over, after a fork while another thread held the lock."""
        self._made: _Made | None = None
        self._lock = threading.RLock()

    def read(self) -> ClientSettings:
        """Read the app's config.

        Raises:
            ValueError: It is invalid.
        """
        return read_settings(_PLACE, self._found())

    @property
    def client(self) -> TimersClient:
        """The app's client."""
        config = self._found()
        with self._lock:
            if self._made is None or self._made.config != config:
                self._drop()
                self._made = _Made(make_client(read_settings(_PLACE, config)), config)
            return self._made.client

    def _drop(self) -> None:
        made, self._made = self._made, None
        if made is not None and _PLACE.key("URL") in made.config:
            made.client.close()

    def _found(self) -> dict[str, Any]:
        # A test can't remove an entry of the app's config: None stands for no entry.
        return {
            key: value
            for key, value in self._config.items()
            if key.startswith(_PLACE.prefix) and value is not None
        }


_all: "weakref.WeakSet[_AppTimers]" = weakref.WeakSet()


def _forget_all() -> None:
    for timers in _all:
        timers.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _make_group(timers: _AppTimers) -> click.Group:
    @contextmanager
    def open_client() -> Iterator[TimersClient]:
        try:
            client = timers.client
        except ValueError as error:
            raise BadServerError(str(error)) from None
        yield client

    def topics() -> Iterable[str]:
        try:
            return timers.read().topics
        except ValueError as error:
            raise BadServerError(str(error)) from None

    # Not by the current app: there is none while a shell completes.
    source = Source(open_client, topics=topics)
    return click.Group(
        _NAME,
        commands=[_in_context(command) for command in (*COMMANDS, _series_command(timers))],
        help="Inspect and change timers.",
        epilog=EXIT_CODES,
        context_settings={"obj": source},
    )


def _series_command(timers: _AppTimers) -> click.Command:
    def load() -> tuple[list[Series], str]:
        try:
            settings = timers.read()
            if settings.series_owner is None:
                msg = f"{settings.where} has no {_PLACE.key('SERIES')}: add a list of Series"
                raise BadServerError(msg)
            return load_series(settings), settings.series_owner
        except ValueError as error:
            raise BadServerError(str(error)) from None

    @click.command()
    @series_options
    def series(**options: Any) -> None:
        """Create and update the series that TIMERS_SERIES declares.

        A series whose definition is unchanged keeps its next due time.
        """
        run_series(load, **options)

    return series


def _in_context(command: click.Command) -> click.Command:
    wrapped = copy.copy(command)
    if command.callback is not None:
        wrapped.callback = with_appcontext(command.callback)
    return wrapped
