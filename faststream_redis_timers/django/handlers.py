"""Handlers that use Django's ORM: they leave no database connection behind.

A worker's module must call `django.setup()` before it imports models, unless ``manage.py
timers_worker`` runs it, which does so.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import close_old_connections, connections

_F = TypeVar("_F", bound=Callable[..., Any])


def django_handler(handler: _F) -> _F:
    """Let a handler use the ORM like a view.

    Django closes database connections that are too old or broken after each request. In a
    worker nothing does so, and each thread that ran a handler would keep its connection. Put
    the decorator below the subscriber::

        @broker.subscriber("invoices")
        @django_handler
        def remind(invoice_id: int) -> None:
            invoice = Invoice.objects.get(pk=invoice_id)

    For a blocking handler, connections that are too old (`CONN_MAX_AGE`) or broken are closed
    before and after it, in its thread. An asynchronous handler (``await
    Invoice.objects.aget(...)``) has its own thread for the ORM, like a request under ASGI, whose
    connections are closed after it.

    A dependency (`Depends`) that uses the ORM runs outside the handler, so it needs the
    decorator too. In tests, that thread does not see uncommitted data of a `TestCase`:
    use `TransactionTestCase`, with a database in a file or on a server.

    Args:
        handler: The handler, a function or an ``async`` function.

    Returns:
        The handler, with the same signature.

    Raises:
        TypeError: It is not a function, or the subscriber already has it.
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
                # The thread ends here, so its connections can't be used again.
                await sync_to_async(connections.close_all)()

    return handle
