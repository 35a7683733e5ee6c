"""Starts handlers: only while their lease lasts, and not without running them to their end.

After the claim dependencies are resolved, blocking handlers wait for a thread, and another
handler may block the event loop for longer than the lease.
"""

import functools
import inspect
from asyncio import isfuture
from collections.abc import Callable
from contextvars import ContextVar
from types import CodeType
from typing import Any

from fast_depends.utils import is_async_gen_callable, is_coroutine_callable, is_gen_callable
from faststream.exceptions import HandlerException, SetupError

from faststream_redis_timers.delivered import TimerBatchDelivery, TimerDelivery

_starting: ContextVar[TimerDelivery | TimerBatchDelivery | None] = ContextVar(
    "_starting", default=None
)


class LeaseEndedError(HandlerException):
    """The lease expired before the handler began: another worker may have the timer by now."""

    def __str__(self) -> str:
        """Return the text that FastStream writes to the log at INFO."""
        return (
            "not handled: the lease expired before the handler began, so the timer is redelivered"
        )


def expect_start(delivery: TimerDelivery | TimerBatchDelivery | None) -> None:
    """Let the next handler of this task start only within this delivery's lease.

    Args:
        delivery: The delivery, or the batch; None lets it start at any time.
    """
    _starting.set(delivery)


def within_lease(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a handler so that it does not start after its lease has expired.

    Args:
        handler: The user's function or other callable, asynchronous or not.

    Returns:
        The handler, which raises `LeaseEndedError` then, and `TypeError` if it returns a
        coroutine, or is wrapped so that it returns a generator.

    Raises:
        SetupError: It is a generator function.
    """
    name, code = getattr(handler, "__name__", repr(handler)), _code_of(handler)
    if is_gen_callable(handler) or is_async_gen_callable(handler):
        msg = (
            f"handler {name!r} has a yield, so calling it returns a generator, which nothing runs: "
            "remove the yield"
        )
        raise SetupError(msg)
    # As FastStream decides what to run in a thread: objects can have an async __call__.
    if is_coroutine_callable(handler):

        @functools.wraps(handler)
        async def begin_async(*args: Any, **kwargs: Any) -> Any:
            _check()
            return _checked(await handler(*args, **kwargs), name, code)

        return begin_async

    @functools.wraps(handler)
    def begin(*args: Any, **kwargs: Any) -> Any:
        _check()
        return _checked(handler(*args, **kwargs), name, code)

    return begin


def _code_of(handler: Callable[..., Any]) -> CodeType | None:
    inner: Any = inspect.unwrap(handler)
    while isinstance(inner, functools.partial):
        inner = inspect.unwrap(inner.func)
    if not hasattr(inner, "__code__"):
        inner = inspect.unwrap(type(inner).__call__)
    return getattr(inner, "__code__", None)


def _checked(result: Any, name: str, code: CodeType | None) -> Any:
    """Return a handler's result; raise if it has yet to run, as with decorators that don't await.

    Generators of other code than the handler's can be results: they are published as lists. A
    future runs already.
    """
    if result is None:
        # As most do; the questions below take a microsecond.
        return result
    if inspect.iscoroutine(result):
        # Otherwise Python warns that it was never awaited.
        result.close()
        kind = "a coroutine"
    elif inspect.isgenerator(result):
        if result.gi_code is not code:
            return result
        kind = "a generator"
    elif inspect.isasyncgen(result):
        kind = "an asynchronous generator"
    elif inspect.isawaitable(result) and not isfuture(result):
        kind = f"an object of type {type(result).__name__}"
    else:
        return result
    msg = (
        f"handler {name!r} returned {kind}, which nothing runs: write a plain def, or an async def "
        "that awaits it, without yield"
    )
    raise TypeError(msg)


def _check() -> None:
    delivery = _starting.get()
    # Only once: the handler may call other handlers as functions after its lease has expired.
    _starting.set(None)
    if delivery is not None and delivery.lease_ended:
        raise LeaseEndedError
    if isinstance(delivery, TimerBatchDelivery):
        delivery.has_begun = True
