"""Timers from views, through Django's own clients."""

from contextlib import contextmanager

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient, Client
from django_project.models import Invoice


@contextmanager
def atomic_requests():
    # A copy of the settings that connections were made with, so not what override_settings changes.
    settings = connections["default"].settings_dict
    settings["ATOMIC_REQUESTS"] = True
    try:
        yield
    finally:
        settings["ATOMIC_REQUESTS"] = False


def test_with_atomic_requests_a_timer_waits_for_the_end_of_the_view(timers):
    with atomic_requests():
        answer = Client().get("/issue/", {"number": "INV-001"})
    assert answer.content == b"pending before the commit: False"
    assert timers.has_pending("invoices", "INV-001")


def test_without_them_it_is_scheduled_at_once(timers):
    answer = Client().get("/issue/", {"number": "INV-001"})
    assert answer.content == b"pending before the commit: True"


def test_with_atomic_requests_a_view_that_fails_schedules_nothing(timers):
    with atomic_requests(), pytest.raises(RuntimeError):
        Client().get("/issue-and-fail/", {"number": "INV-001"})
    assert not timers.has_pending("invoices", "INV-001")
    assert not Invoice.objects.exists()


async def test_an_asynchronous_view_schedules(timers):
    answer = await AsyncClient().get("/remind-later/", {"number": "INV-001"})
    assert timers.get_timer("invoices", answer.content.decode()).decode() == "INV-001"


async def test_an_asynchronous_view_schedules_on_commit(timers):
    answer = await AsyncClient().get("/issue-without-blocking/", {"number": "INV-001"})
    await sync_to_async(connections.close_all)()
    assert timers.get_timer("invoices", answer.content.decode()).decode() == "INV-001"
