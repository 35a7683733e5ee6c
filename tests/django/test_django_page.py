"""The code of docs/django.md does what the page says."""

import re
from pathlib import Path

import pytest
from django import VERSION
from django.conf import settings
from django.core.management import call_command
from django.test import TestCase, override_settings
from django.utils.module_loading import import_string
from django_project.models import Invoice

from faststream_redis_timers_sync import Every
from faststream_redis_timers_sync.django import conf, get_client
from faststream_redis_timers_sync.testing import FakeTimersClient

PAGE = (Path(__file__).parents[2] / "docs" / "django.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def page():
    """The names that the page's code defines."""
    names = {"__name__": "page"}
    with override_settings(TIMERS={"default": {"URL": "redis://localhost"}}):
        for block in BLOCKS:
            exec(block, names)  # noqa: S102  it is our page
    return names


def test_the_settings_are_in_order(page):
    with override_settings(TIMERS=page["TIMERS"]):
        assert conf.read_alias("default").topics == ("invoices",)
    assert set(page["INSTALLED_APPS"]) <= set(settings.INSTALLED_APPS)


def test_the_table_has_all_keys_of_an_alias():
    table = PAGE.partition("## Settings")[2].partition("## Workers")[0]
    with (
        pytest.raises(Exception, match="it may have") as raised,
        override_settings(TIMERS={"default": {"": ""}}),
    ):
        conf.read_alias("default")

    known = re.findall(r"'(\w+)'", str(raised.value).partition("may have")[2])
    assert set(re.findall(r"`([A-Z_]+)`", table.partition("|---")[2].partition("\n\n")[0])) == set(
        known
    )


def test_an_invoice_is_scheduled_looked_at_and_settled(page, timers):
    invoice = Invoice(number=1)

    page["send_invoice"](invoice)
    assert page["will_be_reminded"](invoice)
    assert get_client().get_timer("invoices", str(invoice.pk)).decode() == invoice.pk

    page["settle_invoice"](invoice)
    assert not page["will_be_reminded"](invoice)


def test_a_recurring_timer_of_a_row_is_scheduled(page, timers):
    invoice = Invoice(number=1)

    page["watch_invoice"](invoice)
    assert get_client().get_timer("watched", str(invoice.pk)).repeat == Every(hours=1)


class PageTest(TestCase):
    """The page's test, in Django's own test case."""

    def test_the_test_passes(self):
        names = {"__name__": "page"}
        for block in (BLOCKS[1], BLOCKS[-1]):
            exec(block, names)  # noqa: S102  it is our page

        names["test_an_invoice_is_due_after_30_days"](
            FakeTimersClient(), Invoice(number=1), self.captureOnCommitCallbacks
        )


def test_the_series_are_ensured(page):
    fake = FakeTimersClient()
    alias = {"CLIENT": lambda: fake, "SERIES": lambda: page["SERIES"], "SERIES_OWNER": "shop"}
    with override_settings(TIMERS={"default": alias}):
        for command in ([], ["--check"], ["--prune"]):
            call_command("timers_series", *command)
    assert fake.get_timer("reports", "daily").repeat == page["WEEKDAYS"]


def test_the_worker_and_the_admin_site_are_as_told(page):
    assert [subscriber.topic for subscriber in page["broker"].subscribers] == ["invoices"]
    assert page["site"].is_registered(page["Timer"])


@pytest.mark.skipif(VERSION < (6, 0), reason="Django has tasks from version 6 on")
def test_the_backend_of_tasks_is_there(page):
    assert import_string(page["TASKS"]["default"]["BACKEND"]).supports_defer
