"""Handlers that use Django's ORM: they leave no database connection behind.

A worker's module calls `django.setup()` before it imports models, unless ``manage.py
timers_worker`` runs it, which has done so.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import close_old_connections, connections

_F = TypeVar("_F", bound=Callable[..., Any])


def django_handler(handler: _F) -> _F:
    """Let a handler use the ORM as a view does.

    Django ends each request by closing the database connections that are too old or broken;
    in a worker nothing does, so each thread that ran a handler would keep its own. Write it
    below the subscriber::

        @broker.subscriber("invoices")
        @django_handler
        def remind(invoice_id: int) -> None:
            invoice = Invoice.objects.get(pk=invoice_id)

    A blocking handler closes connections that are too old (`CONN_MAX_AGE`) or broken before
    and after it, in the thread that it runs in. An asynchronous one (``await
    Invoice.objects.aget(...)``) has a thread of its own for the ORM, as a request under ASGI
    has, and closes its connections with it.

    A dependency (`Depends`) that uses the ORM runs outside of the handler: it needs the
    decorator too. In tests that thread does not see what a `TestCase` has not committed:
    use `TransactionTestCase`, with a database that is a file or on a server.

    Args:
        handler: The handler, a function with or without ``async``.

    Returns:
        The handler, with the same signature.

    Raises:
        TypeError: It is no function, or the subscriber has it already.
    """
    if hasattr(handler, "_original_call"):
        msg = (
            "the subscriber or publisher has this handler already: put @django_handler below "
            "@broker.subscriber(...) and @broker.publisher(...)"
        )
        raise TypeError(msg)
    if not inspect.isroutine(handler):
        msg = f"django_handler needs a function, got {handler!r}"
        raise TypeError(msg)
    if inspect.iscoroutinefunction(handler):
        return cast("_F", _asynchronous(handler))
    return cast("_F", _blocking(handler))


def _blocking(handler: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(handler)
    def handle(*args: Any, **kwargs: Any) -> Any:
        close_old_connections()
        try:
            return handler(*args, **kwargs)
        finally:
            close_old_connections()

    return handle


def _asynchronous(handler: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(handler)
    async def handle(*args: Any, **kwargs: Any) -> Any:
        async with ThreadSensitiveContext():
            try:
                return await handler(*args, **kwargs)
            finally:
                # The thread ends here, so none of its connections can be used again.
                await sync_to_async(connections.close_all)()

    return handle
