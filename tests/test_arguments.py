"""What can't work is refused where it is given, with name and value: an argument of every place.

Each argument has a row of values that it can't have. One that is new fails until it has its row.
"""

import inspect
import logging
import math
import re
from dataclasses import fields
from datetime import timedelta
from decimal import Decimal
from types import NoneType
from typing import get_overloads

import pytest
from faststream import Depends
from faststream.redis import RedisBroker

from faststream_redis_timers import (
    RetryPolicy,
    TimersBroker,
    TimersRoute,
    TimersRoutePublisher,
    TimersRouter,
    TimerSub,
)
from faststream_redis_timers.arguments import READERS, read_arguments
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.testing import FakeTimersClient


async def handle(body: str) -> None:
    """Do nothing."""


async def make_id() -> str:
    """Make an id too late."""
    return "1"


URL = "redis://localhost:1"
PLACES = {
    "TimersBroker": (TimersBroker.__init__, TimersBroker),
    "TimersRouter": (TimersRouter.__init__, TimersRouter),
    "include_router": (TimersBroker.include_router, TimersBroker().include_router),
    "broker.subscriber": (TimersBroker.subscriber, TimersBroker().subscriber),
    "router.subscriber": (TimersRouter.subscriber, TimersRouter().subscriber),
    "broker.publisher": (TimersBroker.publisher, TimersBroker().publisher),
    "router.publisher": (TimersRouter.publisher, TimersRouter().publisher),
    "TimersRoute": (TimersRoute.__init__, TimersRoute),
    "TimersRoutePublisher": (TimersRoutePublisher.__init__, TimersRoutePublisher),
    "TimerSub": (TimerSub.__init__, TimerSub),
    "RetryPolicy": (RetryPolicy.__init__, RetryPolicy),
    "TimersClient": (TimersClient.__init__, TimersClient),
    "FakeTimersClient": (FakeTimersClient.__init__, FakeTimersClient),
}
"""Place -> what has the arguments, what is called with them."""

NEEDED = {"topic": "invoices", "call": handle, "router": TimersRouter(), "client": URL}
"""What must be given beside the argument that is tested."""

NO_TEXT = [5, None, b"x", ["x"], "\ud800"]
NO_NAME = [*NO_TEXT, ""]
NO_TEXT_OR_NONE = [value for value in NO_TEXT if value is not None]
NO_FLAG = [None, 1, 0, "yes", "False"]
NO_FUNCTION = [5, "x", [handle]]
NO_LIST = [None, 5, "x", handle]
NO_SECONDS = [math.nan, -1, -0.5, True, "20", b"20", timedelta(seconds=20), Decimal(20)]
NO_LENGTH = [*NO_SECONDS, 0, 1e-7, math.inf, 1e12]
NO_NUMBER = [0, -1, True, 1.5, "5", math.nan, math.inf]
NO_DELAY = [30, 0.5, math.nan, "30", True, timedelta(days=400_000)]
NO_FACTOR = [None, True, "2", math.nan, math.inf, -1]

VALUES = {
    "client": [b"redis://localhost", 6379, object(), "localhost:6379", "", RedisBroker],
    "timeline_key": [*NO_NAME, "timers_payloads"],
    "payloads_key": [*NO_NAME, "timers_timeline"],
    "attempts_key": [*NO_NAME, "timers_timeline"],
    "series_key": [*NO_NAME, "timers_timeline"],
    "hash_tags": NO_FLAG,
    "prefix": NO_TEXT,
    "start_timeout": [None, *NO_SECONDS],
    "graceful_timeout": NO_SECONDS,
    "series_owner": [value for value in NO_NAME if value is not None],
    "prune_series": NO_FLAG,
    "confirm_replicas": NO_NUMBER,
    "confirm_timeout": [None, 0, math.inf, *NO_SECONDS],
    "ack_policy": [None, 5, "ack", True],
    "retry_policy": [5, "x", RetryPolicy, lambda attempt: None, make_id],
    "dead_letter_topic": [value for value in NO_NAME if value is not None],
    "duty": NO_NUMBER,
    "codec": [5, "json", handle],
    "parser": NO_FUNCTION,
    "decoder": NO_FUNCTION,
    "dependencies": [*NO_LIST, Depends(handle), [handle], [None]],
    "middlewares": [*NO_LIST, [5], [None]],
    "routers": [*NO_LIST, TimersRouter(), [5], [TimersRouter]],
    "router": [None, 5, TimersRouter],
    "handlers": [*NO_LIST, [handle], [TimersRoute]],
    "publishers": [*NO_LIST, ["out"], [TimersRoutePublisher]],
    "call": [None, *NO_FUNCTION],
    "logger": [5, "timers"],
    "log_level": [None, True, 20.5, b"INFO", "LOUD", "", [20]],
    "apply_types": NO_FLAG,
    "serializer": NO_FUNCTION,
    "provider": [5, "x", handle],
    "context": [5, "x", {}],
    "id_generator": [None, 5, "x", make_id, lambda prefix: prefix],
    "underlying_driver_annotations": [5, "x", [int]],
    "security": [5, "password", ("user", "password")],
    "specification_url": NO_TEXT_OR_NONE,
    "protocol": NO_TEXT_OR_NONE,
    "protocol_version": NO_TEXT,
    "title": NO_TEXT_OR_NONE,
    "description": NO_TEXT_OR_NONE,
    "tags": [*NO_LIST, {"name": "durable"}, ["durable"]],
    "include_in_schema": [1, 0, "yes"],
    "options": [5, "x", {"socket_timeout": "5"}, {"no_such": 1}],
    # Of subscribers and publishers.
    "topic": NO_NAME,
    "lease_ttl": [None, *NO_LENGTH],
    "polling_interval": [None, *NO_LENGTH, 100.0],
    "max_polling_interval": [None, *NO_LENGTH, 0.01],
    "batch": NO_FLAG,
    "max_records": [None, *NO_NUMBER, 5, 101],
    "max_wait": [None, *NO_SECONDS, math.inf, 0.5],
    "max_concurrent": NO_NUMBER,
    "renew_lease": NO_FLAG,
    "max_lease": [None, *NO_LENGTH],
    "handler_timeout": NO_LENGTH,
    "no_reply": NO_FLAG,
    "persistent": NO_FLAG,
    "activate_in": NO_DELAY,
    "headers": [5, "x", [("a", "b")], {"a": object()}, {5: "x"}],
    "reply_to": NO_TEXT,
    # Any type may be described.
    "schema": [],
    # Of retry policies.
    "max_attempts": [None, *NO_NUMBER],
    "delay": [None, -timedelta(1), *NO_DELAY],
    "factor": [*NO_FACTOR, 0.5],
    "max_delay": [None, -timedelta(1), *NO_DELAY],
    "jitter": [*NO_FACTOR, 1.5],
}
"""Argument -> values that it can't have."""

HIDDEN = {"client", "security", "headers", "options"}
"""Arguments whose value may be secret: errors tell its type at most."""

TEXTS = {argument for argument, values in VALUES.items() if "\ud800" in values}


def arguments_of(call):
    return [name for name in inspect.signature(call).parameters if name != "self"]


def test_every_argument_has_a_row():
    arguments = {name for call, _ in PLACES.values() for name in arguments_of(call)}

    assert arguments == VALUES.keys()


def shown(value):
    """Name a value, alike in every process: an object's address is not."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


ROWS = [
    pytest.param(place, argument, value, id=f"{place}-{argument}-{shown(value)}"[:80])
    for place, (call, _) in PLACES.items()
    for argument in arguments_of(call)
    for value in VALUES[argument]
]


@pytest.mark.parametrize(("place", "argument", "value"), ROWS)
def test_what_cannot_work_is_refused_with_name_and_value(place, argument, value):
    has_arguments, make = PLACES[place]
    needed = {name: NEEDED[name] for name in arguments_of(has_arguments) if name in NEEDED}

    with pytest.raises((TypeError, ValueError)) as caught:
        make(**{**needed, argument: value})

    message = str(caught.value)
    # One that is not a URL is not shown, it may hold a password; a header is named.
    assert (argument in message) or (argument, type(value)) in {("client", str), ("headers", dict)}
    if argument in TEXTS and not isinstance(value, (str, int, NoneType)):
        # Where arguments were swapped it is a message, which may be secret.
        assert f"got a value of type {type(value).__name__}" in message
    elif argument in TEXTS and value == "":
        assert "must not be empty" in message
    elif argument not in HIDDEN:
        # Of a list the item that is wrong.
        (item,) = value if isinstance(value, list) and len(value) == 1 else (value,)
        assert repr(item) in message


@pytest.mark.parametrize(
    ("told", "copy", "of_the_copy_alone"),
    [
        ("broker.subscriber", "TimersRoute", {"call", "publishers"}),
        ("broker.publisher", "TimersRoutePublisher", set()),
    ],
)
def test_an_option_is_the_same_in_each_place(told, copy, of_the_copy_alone):
    parameters, copied = (
        {p.name: p for p in inspect.signature(PLACES[place][0]).parameters.values()}
        for place in (told, copy)
    )
    for name in of_the_copy_alone:
        del copied[name]

    # Names, order, defaults and types.
    assert list(copied.values()) == list(parameters.values())
    assert [name for name in parameters if f" {name}: " not in PLACES[told][0].__doc__] == ["self"]


def test_a_checker_knows_the_options_of_a_subscriber():
    parameters = inspect.signature(TimersBroker.subscriber).parameters
    overloads = get_overloads(TimersBroker.subscriber)

    assert len(overloads) == 2
    for known in (inspect.signature(one).parameters for one in overloads):
        assert list(known) == list(parameters)
        for name in parameters.keys() - {"batch"}:
            assert known[name] == parameters[name]


def test_a_timer_sub_has_options_of_a_subscriber():
    parameters = inspect.signature(TimersBroker.subscriber).parameters
    for field in fields(TimerSub):
        if field.name != "topic":
            told = parameters[field.name]
            assert (told.default, told.annotation) == (field.default, field.type)
        assert f" {field.name}: " in TimerSub.__doc__


def test_an_argument_that_nobody_checks_is_found_when_it_is_written():
    def call(self, topic, wobble=5):
        """Take an argument that is new."""

    with pytest.raises(TypeError, match=r"READERS has nothing about wobble of .*call"):
        read_arguments(call)


def test_no_reader_is_for_an_argument_that_is_gone():
    places = [call for name, (call, _) in PLACES.items() if name != "TimersClient"]

    assert READERS.keys() - {name for call in places for name in arguments_of(call)} == set()


def test_python_says_what_does_not_fit_the_signature():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'topic'"):
        TimersBroker().subscriber()
    with pytest.raises(TypeError, match="unexpected keyword argument 'lease'"):
        TimersBroker().subscriber("invoices", lease=5)
    with pytest.raises(TypeError, match="takes 2 positional arguments but 3"):
        TimersBroker().subscriber("invoices", 5)
    with pytest.raises(TypeError, match="multiple values for argument 'topic'"):
        TimersBroker().subscriber("invoices", topic="invoices")


@pytest.mark.parametrize(
    ("level", "number"),
    [("WARNING", 30), ("Warning", 30), ("debug", 10), ("trace", 5), (logging.WARNING, 30), (5, 5)],
)
def test_a_level_may_be_named_in_any_case(level, number, monkeypatch):
    monkeypatch.setattr(logging, "_nameToLevel", {**logging._nameToLevel, "trace": 5})
    broker = TimersBroker(log_level=level)

    assert broker.config.logger.log_level == number
