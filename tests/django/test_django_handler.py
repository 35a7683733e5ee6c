"""Handlers that use the ORM, run by a real worker."""

import asyncio
import inspect
import threading
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.signals import connection_created
from django_project.models import Invoice
from faststream import Depends

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.django import django_handler

DELIVERIES = 100
AT_ONCE = 20


class Opened:
    """The database connections that were opened, kept so that nothing else closes them."""

    def __init__(self):
        self.wrappers = set()
        self.count = 0
        self._lock = threading.Lock()

    def note(self, *, connection, **_):
        with self._lock:
            self.count += 1
            self.wrappers.add(connection)

    @property
    def still_open(self):
        return [wrapper for wrapper in self.wrappers if wrapper.connection is not None]


@pytest.fixture
def opened(invoice):
    opened = Opened()
    connection_created.connect(opened.note)
    yield opened
    connection_created.disconnect(opened.note)
    for wrapper in opened.still_open:
        wrapper.connection.close()


@pytest.fixture
def invoice():
    invoice = Invoice.objects.create(number="INV-001")
    connections.close_all()
    return invoice


async def deliver(bench, handler, *bodies, **options):
    """Let a worker deliver the bodies, and wait until all are done."""
    broker = bench.broker()
    broker.subscriber(bench.topic, **{"max_concurrent": AT_ONCE, **options})(handler)
    ids = [f"timer-{position}" for position in range(len(bodies))]
    for timer_id, body in zip(ids, bodies, strict=True):
        bench.schedule(timer_id, body)
    await broker.start()
    await bench.until_gone(*ids)
    await broker.stop()
    assert bench.log.complaints == []


async def test_blocking_handlers_leave_no_connection_open(bench, opened, invoice):
    together = threading.Barrier(AT_ONCE, timeout=60)
    seen = []

    @django_handler
    def remind(invoice_id: int) -> None:
        seen.append(Invoice.objects.get(pk=invoice_id).number)
        together.wait()

    await deliver(bench, remind, *[invoice.pk] * DELIVERIES)
    assert seen == ["INV-001"] * DELIVERIES
    assert opened.count == DELIVERIES
    assert opened.still_open == []


@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
async def test_handlers_of_batches_leave_no_connection_open(bench, opened, invoice, kind):
    seen = []

    @django_handler
    def blocking(invoices: list[int]) -> None:
        seen.extend(one.number for one in Invoice.objects.filter(pk__in=invoices))

    @django_handler
    async def asynchronous(invoices: list[int]) -> None:
        seen.extend([one.number async for one in Invoice.objects.filter(pk__in=invoices)])

    handler = blocking if kind == "blocking" else asynchronous
    await deliver(bench, handler, *[invoice.pk] * DELIVERIES, batch=True, max_concurrent=1)
    # One query for all of them.
    assert seen == ["INV-001"]
    assert opened.count == 1
    assert opened.still_open == []


async def test_without_the_decorator_they_would(bench, opened, invoice):
    together = threading.Barrier(AT_ONCE, timeout=60)

    def remind(invoice_id: int) -> None:
        Invoice.objects.get(pk=invoice_id)
        together.wait()

    await deliver(bench, remind, *[invoice.pk] * DELIVERIES)
    assert len(opened.still_open) >= AT_ONCE


async def test_asynchronous_handlers_leave_no_connection_open(bench, opened, invoice):
    together = asyncio.Barrier(AT_ONCE)
    seen = []

    @django_handler
    async def remind(invoice_id: int) -> None:
        seen.append((await Invoice.objects.aget(pk=invoice_id)).number)
        await together.wait()

    await deliver(bench, remind, *[invoice.pk] * DELIVERIES)
    assert seen == ["INV-001"] * DELIVERIES
    # Each has a thread of its own, so that none waits for the database of another.
    assert opened.count == DELIVERIES
    assert opened.still_open == []


async def test_handlers_that_fail_leave_none_open_either(opened, invoice):
    @django_handler
    def fail(invoice_id: int) -> None:
        Invoice.objects.get(pk=invoice_id)
        raise RuntimeError

    @django_handler
    async def fail_too(invoice_id: int) -> None:
        await Invoice.objects.aget(pk=invoice_id)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await sync_to_async(fail)(invoice.pk)
    with pytest.raises(RuntimeError):
        await fail_too(invoice.pk)
    assert opened.count == 2
    assert opened.still_open == []


@pytest.fixture
def lasting_connections(monkeypatch):
    """Connections that stay open forever, and are looked at before they are used again."""
    settings = connections.settings["default"]
    monkeypatch.setitem(settings, "CONN_MAX_AGE", None)
    monkeypatch.setitem(settings, "CONN_HEALTH_CHECKS", True)


@pytest.mark.usefixtures("lasting_connections")
async def test_a_connection_that_the_database_killed_is_replaced(bench, opened, invoice):
    seen = []

    @django_handler
    def remind(invoice_id: int) -> None:
        seen.append((threading.get_ident(), Invoice.objects.get(pk=invoice_id).number))

    broker = bench.broker()
    broker.subscriber(bench.topic, max_concurrent=1)(remind)
    await broker.start()
    bench.schedule("a", invoice.pk)
    await bench.until_gone("a")
    (wrapper,) = opened.still_open
    wrapper.connection.close()
    bench.schedule("b", invoice.pk)
    await bench.until_gone("b")

    assert bench.log.complaints == []
    assert seen == [seen[0]] * 2
    assert opened.count == 2


@pytest.mark.usefixtures("lasting_connections")
async def test_a_connection_that_grew_too_old_meanwhile_is_not_used_again(bench, opened, invoice):
    counts = []

    @django_handler
    def remind(invoice_id: int) -> None:
        Invoice.objects.get(pk=invoice_id)
        counts.append(opened.count)

    broker = bench.broker()
    broker.subscriber(bench.topic, max_concurrent=1)(remind)
    await broker.start()
    bench.schedule("a", invoice.pk)
    await bench.until_gone("a")
    (wrapper,) = opened.still_open
    # What CONN_MAX_AGE leads to, once that time is over.
    wrapper.close_at = 0.0
    bench.schedule("b", invoice.pk)
    await bench.until_gone("b")
    assert counts == [1, 2]


# --- what FastStream sees


def number_of(invoice_id: int) -> str:
    return Invoice.objects.get(pk=invoice_id).number


async def test_types_are_converted_and_dependencies_resolved(bench, opened, invoice):
    seen = []

    @django_handler
    def remind(
        invoice_id: "int", after: timedelta, number: str = Depends(django_handler(number_of))
    ) -> None:
        seen.append((invoice_id, after, number))

    await deliver(bench, remind, {"invoice_id": str(invoice.pk), "after": "PT1H"})
    assert seen == [(invoice.pk, timedelta(hours=1), "INV-001")]
    assert opened.still_open == []


def test_a_handler_keeps_its_name_signature_and_kind():
    def blocking(invoice_id: int, *, again: bool = False) -> str:
        """Remind."""

    async def asynchronous(invoice_id: int) -> str: ...

    for handler in (blocking, asynchronous):
        decorated = django_handler(handler)
        assert decorated.__name__ == handler.__name__
        assert decorated.__doc__ == handler.__doc__
        assert inspect.signature(decorated) == inspect.signature(handler)
        assert inspect.iscoroutinefunction(decorated) == inspect.iscoroutinefunction(handler)


def test_a_decorator_above_the_subscriber_is_refused():
    broker = TimersBroker()

    @broker.subscriber("invoices")
    def remind(invoice_id: int) -> None: ...

    with pytest.raises(TypeError, match=r"put @django_handler below @broker\.subscriber"):
        django_handler(remind)
    with pytest.raises(TypeError, match="django_handler needs a function, got 5"):
        django_handler(5)
