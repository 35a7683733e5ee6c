"""Checks the arguments of brokers, routers, subscribers and publishers, by name.

An argument means the same everywhere, so it is checked in one place. Values that can't work are
refused immediately; otherwise they would fail at the first start, call or stop.
"""

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from types import NoneType
from typing import Any, NoReturn, ParamSpec, TypeVar

from fast_depends import Provider
from faststream import AckPolicy
from faststream.specification.schema import Tag

from faststream_redis_timers._faststream import (
    ArgsContainer,
    ContextRepo,
    Registrator,
    SubscriberRoute,
)
from faststream_redis_timers.retry_policy import check_retry_policy
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers_sync.protocol.checks import check_count, check_number
from faststream_redis_timers_sync.protocol.envelope import write_envelope
from faststream_redis_timers_sync.protocol.keys import plain_prefix, plain_text
from faststream_redis_timers_sync.protocol.times import ask_in

_P = ParamSpec("_P")
_R = TypeVar("_R")

Reader = Callable[[str, Any], Any]
"""Checks an argument, given its name and value; returns the normalized value.

It raises `TypeError` or `ValueError`, with name and value in the message.
"""


def read_arguments(call: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a callable whose arguments are checked by their readers before it is called.

    Args:
        call: The callable. Its defaults are not read.

    Raises:
        TypeError: One of its arguments has no reader.
    """
    parameters = inspect.signature(call).parameters
    if unknown := parameters.keys() - READERS.keys() - {"self"}:
        msg = f"READERS has nothing about {', '.join(sorted(unknown))} of {call.__qualname__}"
        raise TypeError(msg)

    @wraps(call)
    def call_with_what_is_meant(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        names = list(parameters)[: len(args)]
        read = [_read(parameters, name, value) for name, value in zip(names, args, strict=False)]
        # Python itself refuses arguments that do not fit the signature.
        rest = args[len(names) :]
        named = {name: _read(parameters, name, value) for name, value in kwargs.items()}
        return call(*read, *rest, **named)  # type: ignore[arg-type]

    return call_with_what_is_meant


def _read(parameters: Mapping[str, inspect.Parameter], name: str, value: Any) -> Any:
    if name == "self" or name not in parameters or value is parameters[name].default:
        return value
    return READERS[name](name, value)


def _refuse(argument: str, expected: str, value: Any) -> NoReturn:
    msg = f"{argument} must be {expected}, got {value!r}"
    raise TypeError(msg)


# --- readers -----------------------------------------------------------------------------


def _anything(_argument: str, value: Any) -> Any:
    return value


def _one_of(expected: str, *classes: type[Any]) -> Reader:
    def read(argument: str, value: Any) -> Any:
        if not isinstance(value, classes):
            _refuse(argument, expected, value)
        return value

    return read


def _or_none(read: Reader) -> Reader:
    return lambda argument, value: None if value is None else read(argument, value)


def _function(argument: str, value: Any) -> Any:
    if not callable(value):
        _refuse(argument, "a function", value)
    return value


def _several(expected: str, is_one: Callable[[Any], bool]) -> Reader:
    def read(argument: str, value: Any) -> tuple[Any, ...]:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            _refuse(argument, f"a list of {expected}", value)
        items = tuple(value)
        for item in items:
            if not is_one(item):
                msg = f"{argument} must be a list of {expected}, got one with {item!r}"
                raise TypeError(msg)
        return items

    return read


def _text(argument: str, value: Any) -> str:
    return plain_prefix(value, argument)


def _topic(argument: str, value: Any) -> str | TimerSub:
    return value if isinstance(value, TimerSub) else plain_text(argument, value)


def _number_of_seconds(argument: str, value: Any) -> Any:
    check_number(argument, value)
    return value


def read_seconds_or_none(argument: str, value: Any) -> Any:
    """Return a timeout in seconds as it is; None stands for no limit.

    Args:
        argument: Name of the argument, for the error.
        value: The timeout.

    Raises:
        TypeError: It is neither a number nor None.
        ValueError: It is below 0, or NaN.
    """
    if value is None:
        return None
    check_number(argument, value, "a number of seconds or None")
    # Not `value < 0`: that would let NaN pass.
    if not value >= 0:
        msg = f"{argument} must be at least 0 seconds, got {value!r}"
        raise ValueError(msg)
    return value


def read_level(argument: str, value: int | str) -> int:
    """Check a logging level.

    Args:
        argument: Name of the argument, for the error.
        value: The level, or its name in any case.

    Returns:
        The level.

    Raises:
        TypeError: It is neither.
        ValueError: No level has that name.
    """
    if isinstance(value, str):
        levels = logging.getLevelNamesMapping()
        # An added level may have a lowercase name.
        level = levels.get(value, levels.get(value.upper()))
        if level is None:
            msg = f"{argument} must be a logging level such as 'INFO', got {value!r}"
            raise ValueError(msg)
        return level
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse(argument, "a logging level such as logging.INFO", value)
    return value


def _workers(argument: str, value: Any) -> Any:
    check_count(argument, value, "a whole number of workers or None", remedy=", or None for all")
    return value


def _id_generator(argument: str, value: Any) -> Any:
    expected = "a function (no `async def`) without arguments that returns a str"
    if not callable(value) or inspect.iscoroutinefunction(value):
        _refuse(argument, expected, value)
    try:
        inspect.signature(value).bind()
    except TypeError:
        _refuse(argument, expected, value)
    except ValueError:
        # Its signature is unknown.
        pass
    return value


def _logger(argument: str, value: Any) -> Any:
    if value is not None and not callable(getattr(value, "log", None)):
        _refuse(argument, "a logger, with a method `log`, or None", value)
    return value


def _codec(argument: str, value: Any) -> Any:
    if not all(callable(getattr(value, name, None)) for name in ("encode", "decode")):
        _refuse(argument, "a codec, with the methods `encode` and `decode`", value)
    return value


def _retry_policy(_argument: str, value: Any) -> Any:
    check_retry_policy(value)
    return value


def _delay(argument: str, value: Any) -> Any:
    ask_in(argument, value)
    return value


def _headers(argument: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        # The value may be secret.
        msg = f"{argument} must be a mapping, got {type(value).__name__}"
        raise TypeError(msg)
    write_envelope(b"", headers=value)
    return value


_text_or_none = _or_none(_text)
_function_or_none = _or_none(_function)
_true_or_false = _one_of("True or False", bool)

READERS: Mapping[str, Reader] = {
    # The classes that use these check them: TimersConnection, KeySpace, read_confirmation and
    # TimerSub. A type for documents may be anything.
    **dict.fromkeys(
        (
            *("client", "security", "timeline_key", "payloads_key", "attempts_key", "series_key"),
            *("hash_tags", "confirm_replicas", "confirm_timeout"),
            *("lease_ttl", "max_lease", "renew_lease", "handler_timeout", "max_concurrent"),
            *("polling_interval", "max_polling_interval", "batch", "max_records", "max_wait"),
            "schema",
        ),
        _anything,
    ),
    "topic": _topic,
    "prefix": _text,
    "reply_to": _text,
    "dead_letter_topic": _or_none(plain_text),
    "retry_policy": _retry_policy,
    "duty": _or_none(_workers),
    "ack_policy": _one_of("an AckPolicy", AckPolicy),
    "activate_in": _or_none(_delay),
    "headers": _or_none(_headers),
    "start_timeout": _number_of_seconds,
    "series_owner": _or_none(plain_text),
    "prune_series": _true_or_false,
    "graceful_timeout": read_seconds_or_none,
    "id_generator": _id_generator,
    "no_reply": _true_or_false,
    "persistent": _true_or_false,
    # FastStream's arguments.
    "call": _function,
    "codec": _or_none(_codec),
    "parser": _function_or_none,
    "decoder": _function_or_none,
    "dependencies": _several("Depends(...)", lambda item: hasattr(item, "dependency")),
    "middlewares": _several("middlewares", callable),
    "router": _one_of("a router", Registrator),
    "routers": _several("routers", lambda item: isinstance(item, Registrator)),
    "handlers": _several("TimersRoute", lambda item: isinstance(item, SubscriberRoute)),
    "publishers": _several("TimersRoutePublisher", lambda item: isinstance(item, ArgsContainer)),
    "logger": _logger,
    "log_level": read_level,
    "apply_types": _true_or_false,
    "serializer": _function_or_none,
    "provider": _one_of("a Provider or None", Provider, NoneType),
    "context": _one_of("a ContextRepo or None", ContextRepo, NoneType),
    "underlying_driver_annotations": _one_of("a mapping or None", Mapping, NoneType),
    # For AsyncAPI documents.
    "specification_url": _text_or_none,
    "protocol": _text_or_none,
    "protocol_version": _text,
    "title": _text_or_none,
    "description": _text_or_none,
    "tags": _several("Tag or dict", lambda item: isinstance(item, (Tag, Mapping))),
    "include_in_schema": _one_of("True, False or None", bool, NoneType),
}
"""Name of an argument -> its reader."""
