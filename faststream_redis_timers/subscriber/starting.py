"""Checks that a lease has not expired when its handler starts.

After the claim dependencies are resolved, blocking handlers wait for a thread, and another
handler may block the event loop for longer than the lease.
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
    """Let the next handler of this task start only within this delivery's lease.

    Args:
        delivery: The delivery, or the batch; None lets it start at any time.
    """
    _starting.set(delivery)


def within_lease(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a handler so that it does not start after its lease has expired.

    Args:
        handler: The user's function, asynchronous or not.

    Returns:
        The handler, which raises `LeaseEndedError` then.
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
    # Only once: the handler may call other handlers as functions after its lease has expired.
    _starting.set(None)
    if delivery is not None and delivery.lease_ended:
        raise LeaseEndedError
    if isinstance(delivery, TimerBatchDelivery):
        delivery.has_begun = True
