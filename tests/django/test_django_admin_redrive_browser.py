"""A dead letter in the admin's pages, redriven in a real browser."""

from browser import live_server, log_in
from chromium import open_browser
from dead import dead_letter_all
from django.test import override_settings
from playwright.sync_api import expect

DEAD = "invoices:dead"


def test_dead_letters_are_redriven(timers, here, counting, key_settings, users):
    for n in range(1, 5):
        timers.schedule({"invoice": n}, "invoices", timer_id=f"INV-00{n}")
    dead_letter_all(here, error="shop.payments.CardDeclined")
    user = users(is_superuser=True)
    alias = {"CLIENT": lambda: counting, "TOPICS": ["invoices", DEAD], **key_settings}

    setting = override_settings(TIMERS={"default": alias})
    with setting, live_server() as address, open_browser() as browser:
        page = browser.new_page(color_scheme="dark", viewport={"width": 1200, "height": 900})
        complaints = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        log_in(page, address, user)
        page.click("text=Timers >> nth=-1")
        page.click(f"#content >> text={DEAD}")
        page.click("#content >> text=INV-001")
        expect(page.locator("#content")).to_contain_text("error: shop.payments.CardDeclined")
        _fits_a_narrow_window(browser, page)
        page.click("text=/^Redrive$/")
        expect(page.locator("#content")).to_contain_text("Redrive 1 timer of topic")
        _fits_a_narrow_window(browser, page)
        page.click("#content input.default")
        expect(page.locator(".messagelist")).to_contain_text("Redriven: 1 timer.")
        page.check("#action-toggle")
        page.select_option("select[name=action]", "redrive")
        page.click("button[name=index]")
        expect(page.locator("#content")).to_contain_text("Redrive 3 timers of topic")
        page.click("#content input.default")
        expect(page.locator(".messagelist")).to_contain_text("Redriven: 3 timers.")
        assert complaints == []

    assert timers.count_pending(DEAD) == 0
    assert timers.count_pending("invoices") == 4


def _fits_a_narrow_window(browser, page):
    """Nothing sticks out there."""
    narrow = browser.new_page(
        viewport={"width": 400, "height": 800}, storage_state=page.context.storage_state()
    )
    narrow.goto(page.url)
    assert narrow.evaluate("document.documentElement.scrollWidth") == 400
    narrow.close()
