"""The pages in a real browser: looks, keyboard, accessibility, and what the script does.

`wait_for_function` is eval, which the pages' policy refuses: locators wait here.
"""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from chromium import open_browser
from dead import dead_letter_all
from playwright.sync_api import expect
from waiting import wait_until
from web_pages import EVERYTHING
from web_servers import waitress_serving

from faststream_redis_timers_sync import Cron, Every
from faststream_redis_timers_sync.manage import forecast
from faststream_redis_timers_sync.web import AskPassword, TimerPages

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
LONG = "customer-0b57b0b3261e-" * 6

WIDTHS = (1280, 400)
THEMES = ("light", "dark")

FOCUSED = """() => {
    const element = document.activeElement
    const style = getComputedStyle(element)
    const box = element.getBoundingClientRect()
    return {
        name: element.getAttribute("aria-label") || element.labels?.[0]?.textContent.trim()
            || element.textContent.trim(),
        outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
        middle: (box.top + box.bottom) / 2 + window.scrollY,
        left: box.left,
    }
}"""

COLOURS = """() => ["body", "header", "button", "input"].map(name => {
    const style = getComputedStyle(document.querySelector(name))
    return [style.color, style.backgroundColor]
})"""

STICK_OUT = """() => [...document.querySelectorAll(".ticks span")]
    .filter(tick => tick.scrollWidth > tick.clientWidth).map(tick => tick.textContent)"""


class Site:
    """Pages that are served, and what browsers have asked for."""

    def __init__(self, pages):
        self.pages = pages
        self.asked = []
        self.access = EVERYTHING
        self.url = ""

    def __call__(self, environ, start_response):
        # Browsers load an icon whenever they like.
        if "asset=" not in environ["QUERY_STRING"]:
            self.asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        return self.pages.wsgi(environ, start_response)


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def site(timers):
    """Pages of all sorts of topics and timers."""

    def allow(_):
        return site.access

    topics = ["invoices", "reports", "exports", "payments:dead", "surveys", "quiet", LONG]
    pages = TimerPages(
        timers,
        allow=allow,
        topics=topics,
        longest_lease=30,
        show_body=lambda _, timer: timer.body,
        links=[("Shop", "/shop")],
    )
    site = Site(pages)
    with waitress_serving(site) as url:
        site.url = url
        yield site


@pytest.fixture
def full(site, timers, here):
    """The pages, with something in each topic."""
    now = datetime.now(UTC)
    for number in range(120):
        at = now + timedelta(minutes=5 + number * number)
        timers.schedule({"n": number}, "invoices", timer_id=f"INV-{number}", activate_at=at)
    timers.schedule("x", LONG, timer_id=LONG, activate_at=LATER, headers={LONG: LONG})
    daily = Cron("*/15 8-18 * * MON-FRI", tz="America/New_York")
    timers.schedule({"report": "sales"}, "reports", timer_id="daily", repeat=daily)
    timers.schedule("x", "reports", timer_id="hourly", repeat=Every(hours=1))
    timers.pause_timer("reports", "hourly")
    timers.schedule("x", "exports", timer_id="export")
    here.claim("exports")
    timers.schedule("x", "payments", timer_id="PAY-1")
    dead_letter_all(here, "payments")
    timers.schedule("x", "surveys", timer_id="survey")
    return site


@pytest.fixture
def open_page(browser, site):
    """Open pages of one's own context; what goes wrong in any of them fails the test."""
    contexts = []
    wrong = []

    def listen(page):
        def hear(message):
            # Pages that say what is wrong come with their status.
            if message.type in {"error", "warning"} and "with a status of" not in message.text:
                wrong.append(message.text)

        def see(request):
            if not request.url.startswith(f"{site.url}/"):
                wrong.append(request.url)

        page.on("console", hear)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", see)

    def open_page(width=1280, theme="light", **options):
        context = browser.new_context(
            color_scheme=theme,
            viewport={"width": width, "height": 800},
            timezone_id="Asia/Tokyo",
            locale="en-GB",
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        listen(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
    # No icon either, which some browsers ask the root of a host for.
    assert {path for _, path in site.asked} <= {"/"}


def sees(page, text):
    """Wait until the page shows a text."""
    expect(page.locator("main")).to_contain_text(text)


def press(page, name):
    """Press a button, and wait for the next page."""
    with page.expect_navigation():
        page.get_by_role("button", name=name, exact=True).click()


def dead_letter_of(timers):
    (dead,) = timers.get_pending_timers("payments:dead")
    return dead


def tour(page, site, timers):
    """Go to one page after the other, and give the name of each."""
    for query in (
        "",
        "range=hour",
        "range=month&refresh=60",
        "topic=invoices",
        "topic=invoices&q=INV-1*&only=waiting",
        "topic=invoices&q=nothing",
        "topic=reports",
        "topic=payments:dead",
        "topic=surveys",
        "topic=quiet",
        "topic=exports",
        f"topic={LONG}",
        "topic=invoices&timer=INV-7",
        "topic=reports&timer=daily",
        "topic=reports&timer=hourly",
        "topic=exports&timer=export",
        f"topic={LONG}&timer={LONG}",
        f"topic=payments:dead&timer={dead_letter_of(timers)}",
        "topic=unknown",
        "topic=invoices&timer=unknown",
        "range=unknown",
    ):
        page.goto(f"{site.url}/?{query}")
        for details in page.locator("details").all():
            details.evaluate("details => { details.open = true }")
        yield f"?{query}"
    page.goto(f"{site.url}/")
    press(page, "Search for more topics")
    yield "more topics"
    page.goto(f"{site.url}/?topic=reports")
    for row in page.locator("input[name=id]").all():
        row.check()
    press(page, "Reschedule")
    yield "confirm a reschedule"
    press(page, "Reschedule")
    sees(page, "Say when")
    yield "a form with a mistake"
    page.get_by_label("In", exact=True).fill("3d")
    press(page, "Reschedule")
    sees(page, "Rescheduled 1, unchanged 1")
    yield "an outcome"
    page.goto(f"{site.url}/?topic=surveys")
    press(page, "Cancel all timers of this topic")
    yield "confirm that all are cancelled"
    timers.cancel_timer("surveys", "survey")
    page.get_by_label("Type the name").fill("surveys")
    press(page, "Yes, cancel")
    yield "nothing left"
    press_without_ticks(page, site)
    yield "nothing ticked"
    for access, title in ((None, "Refused"), (AskPassword(), "Sign in")):
        site.access = access
        page.goto(f"{site.url}/")
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        yield title
    site.access = EVERYTHING


def press_without_ticks(page, site):
    page.goto(f"{site.url}/?topic=invoices")
    press(page, "Run now")
    sees(page, "Select timers first")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_sticks_out_or_breaks_a_rule_of_accessibility(
    full, timers, open_page, width, theme
):
    # Without any a browser without a window shows no page that asks for them.
    wrong = {"username": "ops", "password": "wrong"}
    page = open_page(width, theme, http_credentials=wrong)
    axe = Axe()
    for name in tour(page, full, timers):
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.evaluate(STICK_OUT) == [], name
        found = axe.run(page)
        assert found.violations_count == 0, f"{name}: {found.generate_report()}"


@pytest.mark.parametrize("width", WIDTHS)
def test_dark_is_dark(full, open_page, width):
    shades = []
    for theme in THEMES:
        page = open_page(width, theme)
        page.goto(f"{full.url}/?topic=invoices")
        shades.append(page.evaluate(COLOURS))
    light, dark = shades
    assert all(one != other for one, other in zip(light, dark, strict=True))


# --- the keyboard


def tab_to(page, name):
    """Press Tab until something has the focus; all on the way is seen, and in a sensible order."""
    last = None
    for _ in range(300):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUSED)
        assert at["outline"] >= 2, at
        # Down the page, and from left to right.
        if last is not None and last["name"] != "Skip to content":
            assert (at["middle"], at["left"]) >= (last["middle"] - 20, 0), (last, at)
            assert at["middle"] > last["middle"] + 20 or at["left"] >= last["left"], (last, at)
        if at["name"] == name:
            return
        last = at
    pytest.fail(f"Tab leads to no {name}")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_timer_is_cancelled_with_the_keyboard_alone(full, timers, open_page, width):
    page = open_page(width)
    page.goto(f"{full.url}/")
    tab_to(page, "invoices")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("invoices")
    tab_to(page, "Search IDs")
    page.keyboard.type("INV-1?")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr", has_text="INV-")).to_have_count(10)
    tab_to(page, "Select INV-13")
    page.keyboard.press("Space")
    tab_to(page, "Cancel")
    page.keyboard.press("Enter")
    sees(page, "Cancel 1 timer of topic “invoices”?")
    tab_to(page, "Yes, cancel")
    page.keyboard.press("Enter")
    sees(page, "Cancelled 1.")
    assert timers.get_timer("invoices", "INV-13") is None
    tab_to(page, "Back to the topic")
    page.keyboard.press("Enter")
    sees(page, "119 timers")


def test_the_first_link_skips_to_the_content(full, open_page):
    page = open_page()
    page.goto(f"{full.url}/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


# --- the script


def test_times_are_shown_in_the_reader_s_zone_too(full, open_page):
    page = open_page()
    page.goto(f"{full.url}/?topic={LONG}&timer={LONG}")

    time = page.locator("time", has_text="2099")
    expect(time).to_have_text("2099-06-01 09:00:00 UTC")
    expect(time).to_have_attribute("title", "01/06/2099, 18:00:00 (your local time)")


@contextmanager
def refreshing(open_page, site, query):
    """Open a page that refreshes itself, with a clock that the test moves."""
    page = open_page()
    page.clock.install()
    page.goto(f"{site.url}/?refresh=5&{query}")
    before = len(site.asked)
    yield page
    page.clock.run_for(5000)
    # One look and no more: that of now.
    sees(page, "3 timers")
    assert len(site.asked) == before + 1


@pytest.fixture
def few(site, timers):
    """The pages, with two timers."""
    timers.schedule("x", "invoices", timer_id="a", activate_at=LATER)
    timers.schedule("x", "invoices", timer_id="b", activate_in=timedelta(hours=1))
    return site


def test_a_page_refreshes_itself(few, timers, open_page, monkeypatch):
    monkeypatch.setattr(forecast, "KEPT_SECONDS", 0.0)
    with refreshing(open_page, few, "topic=invoices") as page:
        sees(page, "2 timers")
        timers.schedule("x", "invoices", timer_id="c", activate_in=timedelta(hours=1))

    expect(page.locator("#refresh-status")).to_contain_text("1 timer more than at the last refresh")
    local = "01/06/2099, 18:00:00 (your local time)"
    expect(page.locator("tr time").last).to_have_attribute("title", local)


def test_a_hidden_page_waits(few, timers, open_page):
    with refreshing(open_page, few, "topic=invoices") as page:
        timers.schedule("x", "invoices", timer_id="c", activate_at=LATER)
        page.evaluate("Object.defineProperty(document, 'hidden', {value: true, writable: true})")
        page.clock.run_for(60_000)
        page.evaluate("document.hidden = false")


def test_a_page_waits_while_a_form_has_the_focus(few, timers, open_page):
    with refreshing(open_page, few, "topic=invoices") as page:
        timers.schedule("x", "invoices", timer_id="c", activate_at=LATER)
        page.get_by_label("Search IDs").fill("typing")
        page.clock.run_for(60_000)
        expect(page.get_by_label("Search IDs")).to_have_value("typing")
        page.evaluate("document.activeElement.blur()")


def test_a_page_waits_while_rows_are_ticked(few, timers, open_page):
    with refreshing(open_page, few, "topic=invoices") as page:
        timers.schedule("x", "invoices", timer_id="c", activate_at=LATER)
        page.get_by_label("Select a", exact=True).check()
        page.evaluate("document.activeElement.blur()")
        page.clock.run_for(60_000)
        expect(page.get_by_label("Select a", exact=True)).to_be_checked()
        page.get_by_label("Select a", exact=True).uncheck()
        page.evaluate("document.activeElement.blur()")


def test_a_page_waits_while_the_table_is_open(few, timers, open_page):
    with refreshing(open_page, few, "topic=invoices") as page:
        timers.schedule("x", "invoices", timer_id="c", activate_at=LATER)
        page.get_by_text("As a table").click()
        page.clock.run_for(60_000)
        page.get_by_text("As a table").click()


def test_a_page_that_is_refused_stops_and_says_so(few, open_page):
    page = open_page()
    page.clock.install()
    page.goto(f"{few.url}/?refresh=5")
    few.access = None
    page.clock.run_for(5000)
    stopped = page.locator("#refresh-status")
    expect(stopped).to_have_text("Stopped: the server responded with status 403")
    before = len(few.asked)
    page.clock.run_for(60_000)
    few.access = EVERYTHING
    page.reload()
    assert len(few.asked) == before + 1


# --- without it


def test_all_works_without_scripts(full, timers, open_page):
    page = open_page(java_script_enabled=False)
    page.goto(f"{full.url}/")
    page.get_by_role("link", name="invoices", exact=True).click()
    page.get_by_text("As a table").click()
    expect(page.locator("details table")).to_be_visible()
    page.get_by_role("link", name="30 days").click()
    page.get_by_role("link", name="Next page").click()
    page.get_by_label("Search IDs").fill("INV-11?")
    page.get_by_role("button", name="Search").click()
    sees(page, "10 timers")
    page.get_by_label("Select all 10 that match").check()
    page.get_by_role("button", name="Cancel", exact=True).click()
    sees(page, "Cancel all timers that match “INV-11?” (10 timers) of topic “invoices”?")
    page.get_by_role("button", name="Yes, cancel").click()
    sees(page, "Cancelled 10.")
    assert timers.count_pending("invoices") == 110


def test_a_page_refreshes_itself_without_scripts(few, open_page):
    page = open_page(java_script_enabled=False)
    page.goto(f"{few.url}/?refresh=5")
    documents = len(few.asked)
    wait_until(lambda: len(few.asked) > documents, timeout=60)
    sees(page, "As of")
