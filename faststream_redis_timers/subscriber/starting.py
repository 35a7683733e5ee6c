"""Looks once more whether a lease still lasts, at the moment when the handler begins.

Between the claim and that moment dependencies are resolved, blocking handlers wait for a
thread, and a handler beside them may stop the whole event loop for longer than the lease.
"""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from faststream.exceptions import HandlerException

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
    """Let the handler that this task calls next begin only within this delivery's lease.

    Args:
        delivery: The delivery, or the batch; None lets it begin at any time.
    """
    _starting.set(delivery)


def within_lease(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a handler so that it does not begin once its lease has ended.

    Args:
        handler: What the user wrote, a coroutine function or not.

    Returns:
        The same, but it raises `LeaseEndedError`.
    """
    if inspect.iscoroutinefunction(handler):

        @functools.wraps(handler)
        async def begin_async(*args: Any, **kwargs: Any) -> Any:
            _check()
            return await handler(*args, **kwargs)

        return begin_async

    @functools.wraps(handler)
    def begin(*args: Any, **kwargs: Any) -> Any:
        _check()
        return handler(*args, **kwargs)

    return begin


def _check() -> None:
    delivery = _starting.get()
    # Once: a handler may call another, as any function, when its lease has ended.
    _starting.set(None)
    if delivery is not None and delivery.lease_ended:
        raise LeaseEndedError
    if isinstance(delivery, TimerBatchDelivery):
        delivery.has_begun = True
