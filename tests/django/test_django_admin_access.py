"""Who may see and do what in the admin, and on which admin site."""

from datetime import UTC, datetime, timedelta

import pytest
from admin_pages import START, Visitor
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from faststream_redis_timers_sync.django.tokens import Place
from faststream_redis_timers_sync.testing import FakeTimersClient

HOUR = timedelta(hours=1)
LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
ENDINGS = ("change/", "delete/", "reschedule/", "run_now/", "pause/", "resume/", "redrive/")


# --- who may


def test_nobody_sees_anything_without_permission(timers, users):
    timers.schedule("x", "invoices", timer_id="INV-001", activate_at=LATER)
    topic = f"{START}topic/{Visitor.quoted(Place('default', 'invoices'))}/"
    timer = f"{START}{Visitor.quoted(Place('default', 'invoices', 'INV-001'))}/"
    addresses = [START, topic, *(timer + end for end in ENDINGS)]
    client = Client()
    client.force_login(users())
    for address in addresses:
        assert client.get(address).status_code == 403
        assert client.post(address, {"action": "cancel", "post": "yes"}).status_code in {403, 405}
        assert Client().get(address)["Location"].startswith("/admin/login/")
    assert client.get(f"{START}add/").status_code == 403
    assert client.get(f"{timer}history/").status_code == 403
    assert timers.count_pending("invoices") == 1


@pytest.mark.parametrize(
    ("granted", "may"),
    [
        (["view"], []),
        (["view", "delete"], ["cancel"]),
        (["change"], ["reschedule"]),
        (["view", "delete", "change"], ["cancel", "reschedule"]),
    ],
)
def test_each_action_has_its_permission(timers, users, granted, may):
    timers.schedule("x", "invoices", timer_id="INV-001", activate_at=LATER)
    client = Client()
    client.force_login(users(*granted))
    visitor = Visitor(client)
    page = visitor.topic("invoices")
    assert [name for name in ("cancel", "reschedule") if f'value="{name}"' in page.html] == may
    timer = visitor.follow(page, "INV-001")
    assert ("Cancel" in timer.links) == ("cancel" in may)
    assert ("Reschedule" in timer.links) == ("reschedule" in may)
    token = Place("", "", "INV-001").key
    for action, ending in (("cancel", "delete/"), ("reschedule", "reschedule/")):
        fields = {"action": action, "_selected_action": [token]}
        status = 200 if action in may else 403
        assert client.post(page.url, fields).status_code == status
        assert client.get(timer.url.replace("change/", ending)).status_code == status
        if action not in may:
            sure = {**fields, "post": "yes", "delay": "1h"}
            assert client.post(page.url, sure).status_code == 403
            assert client.post(timer.url.replace("change/", ending), sure).status_code == 403
    assert timers.get_timer("invoices", "INV-001").due_at == LATER


def test_nothing_can_be_added(visitor, timers):
    assert visitor.client.get(f"{START}add/").status_code == 403
    assert Permission.objects.filter(content_type__model="timer").count() == 3
    assert f"{START}add/" not in visitor.topics().html


def test_a_client_in_memory_has_pages_too(visitor):
    fake = FakeTimersClient()
    fake.schedule("x", "invoices", timer_id="INV-001", activate_in=HOUR)
    with override_settings(TIMERS={"default": {"CLIENT": lambda: fake, "TOPICS": ["invoices"]}}):
        page = visitor.follow(visitor.topics(), "invoices")
        assert "INV-001" in page.links
        visitor.send(visitor.choose(page, "cancel"))
    assert [timer.timer_id for timer in fake.cancelled] == ["INV-001"]


def test_no_table_is_asked_for_timers(visitor, timers):
    timers.schedule("x", "invoices", timer_id="INV-001", activate_at=LATER)
    with CaptureQueriesContext(connection) as queries:
        visitor.topics()
        page = visitor.topic("invoices")
        visitor.follow(page, "INV-001")
        visitor.send(visitor.choose(page, "cancel"))
        visitor.get("/admin/")
        visitor.get(f"{START}{visitor.quoted(Place('default', 'invoices', 'INV-001'))}/history/")
    assert queries.captured_queries
    assert not [q for q in queries.captured_queries if "faststream_redis_timers_timer" in q["sql"]]


def test_another_admin_site_has_pages_of_its_own(visitor, timers):
    timers.schedule("x", "invoices", timer_id="INV-001", activate_at=LATER)
    office = Visitor(visitor.client, START.replace("/admin/", "/office/"))
    page = office.topic("invoices")
    pages = [office.topics(), page, office.follow(page, "INV-001"), office.choose(page, "cancel")]
    done = office.send(pages[-1])
    assert done.url.startswith("/office/")
    for page in (*pages, done):
        assert page.status == 200
        addresses = [*page.links.values(), page.action or ""]
        assert not [address for address in addresses if address.startswith("/admin/")]
    assert User.objects.count() == 1
