"""The admin's pages in a real browser: what the test client can't tell."""

from datetime import UTC, datetime

from admin_pages import ODD, START
from browser import live_server, log_in
from chromium import open_browser
from django.contrib.admin.models import LogEntry
from django.test import override_settings
from playwright.sync_api import expect

from faststream_redis_timers_sync import Cron, Every

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
TEXT = [odd for odd in ODD if "\udcff" not in odd]


def test_a_walk_through_the_pages(timers, counting, key_settings, users):
    timers.schedule_batch(["x"] * 120, "invoices", activate_at=LATER)
    for odd in TEXT:
        timers.schedule({"odd": odd}, "odd", timer_id=odd, activate_at=LATER)
    timers.schedule("x", "odd", timer_id="plain", activate_at=LATER)
    user = users(is_superuser=True)
    alias = {"CLIENT": lambda: counting, "TOPICS": ["invoices", "odd"], **key_settings}

    setting = override_settings(TIMERS={"default": alias})
    with setting, live_server() as address, open_browser() as browser:
        page = browser.new_page(color_scheme="light", viewport={"width": 1200, "height": 900})
        complaints = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        log_in(page, address, user)
        _cancel_odd_ids(page)
        _cancel_all(page)
        _reschedule_one(page)
        _look_at_themes(browser, page)
        assert complaints == []

    assert timers.get_pending_timers("odd") == ["plain"]
    assert timers.count_pending("invoices") == 0
    assert timers.get_timer("odd", "plain").due_at < LATER
    entries = LogEntry.objects.order_by("pk")
    assert len(entries) == len(TEXT) + 2
    assert entries.last().object_repr == "plain (odd)"


def _sees(page, where, text):
    # It waits until that is so: a click does not wait for the next page.
    expect(page.locator(where)).to_contain_text(text)


def _act(page, action):
    page.select_option("select[name=action]", action)
    page.click("button[name=index]")


def _cancel_odd_ids(page):
    """Select all but one, whose names browsers and HTML would change."""
    page.click("text=Timers >> nth=-1")
    page.click("#content >> text=odd")
    page.check("#action-toggle")
    page.uncheck("tr:has(a:text-is('plain')) input")
    _sees(page, ".action-counter", f"{len(TEXT)} of {len(TEXT) + 1} selected")
    _act(page, "cancel")
    _sees(page, "#content", f"Cancel {len(TEXT)} timers of topic “odd”?")
    page.click("text=Yes, cancel")
    _sees(page, ".messagelist", f"Cancelled: {len(TEXT)} timers.")


def _cancel_all(page):
    """Select those of the other pages too."""
    page.click(".breadcrumbs >> text=Topics")
    page.fill("#searchbar", "invoices")
    page.click("text=Open")
    page.check("#action-toggle")
    page.click("text=Select all 120 timers")
    _sees(page, ".actions", "All 120 timers selected")
    _act(page, "cancel")
    page.click("text=No, take me back")
    page.click("text=Next page")
    expect(page.locator("#result_list tbody tr")).to_have_count(20)
    page.check("#action-toggle")
    page.click("text=Select all 120 timers")
    _act(page, "cancel")
    page.click("text=Yes, cancel")
    _sees(page, ".messagelist", "Cancelled: 120 timers.")


def _reschedule_one(page):
    """From a timer's own page, by the admin's calendar."""
    page.click(".breadcrumbs >> text=Topics")
    page.click("#content >> text=odd")
    page.click("#content >> text=plain")
    page.click("text=Reschedule")
    page.click("text=Today")
    page.fill("#id_at_1", "23:59:59")
    page.click("input[value=Reschedule]")
    _sees(page, ".messagelist", "Rescheduled: 1 timer.")


def _look_at_themes(browser, page):
    """In a narrow window nothing sticks out, and dark is dark."""
    address = page.url
    pages = [address, address[: address.index(START)] + START]
    pages.append(page.locator("#result_list a").first.evaluate("link => link.href"))
    shades = []
    for theme in ("light", "dark"):
        narrow = browser.new_page(
            color_scheme=theme,
            viewport={"width": 400, "height": 800},
            storage_state=page.context.storage_state(),
        )
        for each in pages:
            narrow.goto(each)
            assert narrow.evaluate("document.documentElement.scrollWidth") == 400
        shades.append(narrow.evaluate("getComputedStyle(document.body).backgroundColor"))
        shades.append(
            narrow.evaluate("getComputedStyle(document.querySelector('pre')).backgroundColor")
        )
    assert len(set(shades)) == 4


def test_a_walk_through_the_pages_of_recurring_timers(timers, counting, key_settings, users):
    daily = Cron("*/15 8-18 * * MON-FRI", tz="America/New_York")
    timers.schedule("x", "reports", timer_id="daily", repeat=daily)
    timers.schedule("x", "reports", timer_id="hourly", repeat=Every(hours=1))
    timers.schedule("x", "reports", timer_id="once", activate_at=LATER)
    user = users(is_superuser=True)
    alias = {"CLIENT": lambda: counting, "TOPICS": ["reports"], **key_settings}

    setting = override_settings(TIMERS={"default": alias})
    with setting, live_server() as address, open_browser() as browser:
        page = browser.new_page(color_scheme="light", viewport={"width": 400, "height": 900})
        log_in(page, address, user)
        page.goto(f"{address}{START}?topic=reports")
        page.check("tr:has(a:text-is('daily')) input")
        page.check("tr:has(a:text-is('once')) input")
        _act(page, "pause")
        _sees(page, "#content", "Pause 2 timers of topic “reports”?")
        _fits(page)
        page.click("#content input.default")
        _sees(page, ".messagelist", "Paused: 1 timer. Unchanged: 1 timer (not recurring).")
        page.select_option("select[name=only]", "paused")
        page.click("#changelist-search input[type=submit]")
        expect(page.locator("#result_list tbody tr")).to_have_count(1)
        _fits(page)
        page.click("#content >> text=daily")
        _sees(page, "#content", "Next times, if resumed now")
        _fits(page)
        page.click("text=/^Run now$/")
        _sees(page, "#content", "Running a paused timer resumes it.")
        page.click("text=No, take me back")
        page.click("#content >> text=daily")
        page.click("text=/^Resume$/")
        page.click("#content input.default")
        _sees(page, ".messagelist", "Resumed: 1 timer.")
        page.click("#content >> text=daily")
        page.click("text=/^Cancel$/")
        _sees(page, "#content", "Series end. A series that")
        _fits(page)
        page.click("text=Yes, cancel")
        _sees(page, ".messagelist", "Series ended: 1.")

    assert set(timers.get_pending_timers("reports")) == {"hourly", "once"}


def _fits(page):
    assert page.evaluate("document.documentElement.scrollWidth") == 400
