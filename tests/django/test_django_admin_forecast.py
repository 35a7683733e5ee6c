"""The forecast on the admin's pages: what it shows, what it costs."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import redis
from admin_pages import START, calls_of
from browser import live_server, log_in
from chromium import open_browser
from dead import dead_letter_all
from django.test import override_settings
from playwright.sync_api import expect

from faststream_redis_timers_sync import TimerPublishMessage
from faststream_redis_timers_sync.django.admin.forecast import forecasts_of
from faststream_redis_timers_sync.django.clients import get_client
from faststream_redis_timers_sync.manage.forecast import MOST_TOPICS
from faststream_redis_timers_sync.manage.states import COUNT_WORDS, STATE_WORDS

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:"


@pytest.fixture
def named(timers, counting, key_settings):
    """Name topics in the setting."""
    settings = []

    def name(*topics):
        alias = {"CLIENT": lambda: counting, "TOPICS": topics, **key_settings}
        settings.append(override_settings(TIMERS={"default": alias}))
        settings[-1].enable()

    yield name
    for each in reversed(settings):
        each.disable()


def schedule(timers, topic, *delays):
    messages = [TimerPublishMessage("x", activate_in=delay) for delay in delays]
    timers.schedule_batch(messages, topic)


def test_a_topic_s_page_shows_when_its_timers_are_due(visitor, timers):
    schedule(timers, "invoices", 2 * HOUR, 2 * HOUR, 40 * DAY)
    timers.schedule("x", "invoices")
    page = visitor.topic("invoices")

    assert "Due within a day, by hours 2 timers Overdue: 1 Later: 1 " in page.text
    assert page.html.count('class="timers-forecast-bar"') == 1
    assert re.search(r"at most 2 \(\d\d:00 to \d\d:00\)", page.text)
    assert "A running timer counts at the end of its lease" in page.text
    # The same in a table.
    assert re.search(r"Time \(UTC\) Timers \d\d:\d\d to \d\d:00 ", page.text)
    assert len(re.findall(r"\d\d:\d\d to \d\d:00 [02]\b", page.text)) == 24


def test_the_page_of_topics_adds_up_its_topics(visitor, timers, named):
    named("invoices", "orders", "nothing")
    schedule(timers, "invoices", 2 * HOUR, 2 * HOUR)
    schedule(timers, "orders", 2 * HOUR, 3 * DAY)
    page = visitor.topics()

    assert "Due within a day, by hours 3 timers Overdue: 0 Later: 1 " in page.text
    assert "with the most timers" not in page.text


@pytest.mark.parametrize(
    ("name", "heading", "parts"),
    [
        ("hour", "Due within an hour, by minutes", 60),
        ("day", "Due within a day, by hours", 24),
        ("month", "Due within 30 days, by days", 30),
        ("week", "Due within a day, by hours", 24),
        ("<script>", "Due within a day, by hours", 24),
    ],
)
def test_the_address_names_the_range(visitor, timers, named, name, heading, parts):
    named("invoices")
    schedule(timers, "invoices", HOUR / 2)
    for page in (visitor.topics(range=name), visitor.topic("invoices", range=name)):
        assert f"{heading} 1 timer " in page.text
        assert page.html.count('class="timers-forecast-part"') == parts
        assert "<script>" not in page.html


def test_links_lead_to_the_other_ranges_and_keep_the_search(visitor, timers):
    for timer_id in ("a", "b"):
        timers.schedule("x", "invoices", timer_id=timer_id, activate_in=HOUR)
    page = visitor.topic("invoices", q="a", only="", range="hour")
    assert page.links["24 hours"] == "?q=a&range=day"
    assert page.links["Show all"] == "?range=hour"

    page = visitor.follow(page, "30 days")

    assert "Due within 30 days" in page.text
    assert "1 hour" in page.links
    assert "30 days" not in page.links
    assert '<input type="hidden" name="range" value="month">' in page.html


def test_pages_of_a_list_keep_the_range(visitor, timers):
    timers.schedule_batch(["x"] * 120, "invoices", activate_in=HOUR)

    page = visitor.follow(visitor.topic("invoices", range="month"), "Next page")

    assert "Due within 30 days" in page.text
    assert "&range=day" in page.links["24 hours"]
    assert "after=" in page.links["24 hours"]
    assert visitor.follow(page, "24 hours").html.count("action-select") == 20


def test_a_scan_keeps_the_range_and_the_alias(visitor, timers):
    schedule(timers, "hidden", 3 * DAY)
    page = visitor.topics(range="month")
    assert "Due within" not in page.text
    while "scan" in page.fields:
        page = visitor.send(page)

    assert "Due within 30 days, by days 1 timer " in page.text
    assert page.links["1 hour"] == "?alias=default&range=hour"


def test_there_is_none_where_nothing_is_pending(visitor, timers, named):
    named("invoices")
    assert "timers-forecast" not in re.sub("<link.*>", "", visitor.topics().html)
    assert "timers-forecast" not in re.sub("<link.*>", "", visitor.topic("invoices").html)


def test_days_are_those_of_the_user_s_time_zone(visitor, timers):
    schedule(timers, "invoices", HOUR)
    with override_settings(TIME_ZONE="Asia/Kolkata"):
        page = visitor.topic("invoices", range="day")
    first = re.search(r"Timers \d\d:\d\d to (\d\d):00", page.text)

    assert "Time (Asia/Kolkata)" in page.text
    there = datetime.now(UTC) + timedelta(hours=5, minutes=30)
    assert first[1] in {f"{(there + n * HOUR).hour:02}" for n in (0, 1)}


def test_running_and_paused_timers_are_told(visitor, timers, here):
    timers.schedule("x", "invoices", timer_id="runs")
    assert here.claim("invoices").claimed
    page = visitor.topic("invoices", range="hour")
    assert "1 timer Overdue: 0" in page.text


# --- dead letters


def test_dead_letters_are_told_apart(visitor, timers, here, named):
    named("invoices", "invoices:dead")
    for timer_id in ("a", "b"):
        timers.schedule("x", "invoices", timer_id=timer_id)
    (first, _) = dead_letter_all(here)
    schedule(timers, "invoices", HOUR)

    page = visitor.topics()
    assert "Due within a day, by hours 1 timer Overdue: 0 " in page.text
    assert re.search(r"Dead letters Topic Dead letters Oldest invoices:dead 2 20\d\d-", page.text)

    page = visitor.topic("invoices:dead")
    assert "Dead letters: 2" in page.text
    assert "Overdue" not in page.text
    assert "Due within" not in page.text
    assert page.text.count("dead letter ") == 2
    asked = visitor.choose(page, "redrive")
    assert asked.text.partition("take me back")[2].count("dead letter ") == 2
    assert "overdue" not in asked.text
    assert "State dead letter" in visitor.follow(page, first.decode()).text


# --- what it costs


def test_each_page_asks_few_questions_and_the_next_of_the_same_kind_none(visitor, own_url):
    topics = [f"topic-{n}" for n in range(12)]
    with (
        override_settings(TIMERS={"default": {"URL": own_url, "TOPICS": topics}}),
        redis.Redis.from_url(own_url) as server,
    ):
        server.flushall()
        timers = get_client()
        for topic in topics:
            schedule(timers, topic, HOUR)
        visitor.topics()
        forecasts_of(timers)._kept = {}
        calls = []
        for _ in range(2):
            server.config_resetstat()
            visitor.topics()
            calls.append((calls_of(own_url, "evalsha"), calls_of(own_url, "zcount")))
        server.flushall()

    # One call counts up to 20 topics: what is overdue, paused, due within an hour, within a day.
    # Of the forecast one counts up to five: 24 hours, what is overdue, what is paused.
    assert calls == [(1 + 3, 12 * 4 + 12 * 26), (1, 12 * 4)]


def test_no_more_than_the_largest_topics_are_asked_for(visitor, own_url):
    topics = [f"topic-{n}" for n in range(MOST_TOPICS + 50)]
    with (
        override_settings(TIMERS={"default": {"URL": own_url, "TOPICS": topics}}),
        redis.Redis.from_url(own_url) as server,
    ):
        server.flushall()
        timers = get_client()
        for topic in topics:
            schedule(timers, topic, HOUR)
        visitor.topics()
        forecasts_of(timers)._kept = {}
        server.config_resetstat()
        page = visitor.topics(range="hour")
        calls = calls_of(own_url, "evalsha")
        server.flushall()

    assert "These are the 100 topics with the most timers." in page.text
    assert calls == 150 / 20 + 0.5 + MOST_TOPICS / 2


# --- in a browser


def test_it_is_seen_in_light_and_dark_on_phones_and_under_a_strict_policy(timers, users):
    schedule(timers, "invoices", *[HOUR / 2] * 5, HOUR / 4)
    user = users(is_superuser=True)
    complaints = []
    with live_server() as address, open_browser() as browser:
        for scheme, width in (("light", 1200), ("dark", 1200), ("light", 390)):
            page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
            page.on("console", lambda message: complaints.append(message.text))
            log_in(page, address, user)
            page.route("**/topic/**", _with_policy)
            page.goto(f"{address}{START}?topic=invoices")
            page.click("text=1 hour")
            expect(page.locator("h2")).to_contain_text("Due within an hour")
            picture = page.locator("svg.timers-forecast")
            assert picture.get_attribute("role") == "img"
            box = picture.bounding_box()
            assert 0.7 * width < box["x"] + box["width"] <= width
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            bar, back = page.evaluate(_COLOURS)
            assert _contrast(bar, back) > 3
            page.close()
    assert [each for each in complaints if "Content Security Policy" in each] == []


def _with_policy(route):
    response = route.fetch()
    route.fulfill(
        response=response, headers={**response.headers, "content-security-policy": POLICY}
    )


_COLOURS = """() => {
    const bar = document.querySelector('.timers-forecast-bar');
    return [getComputedStyle(bar).fill, getComputedStyle(document.body).backgroundColor];
}"""


def _contrast(one, other):
    light, dark = sorted(map(_luminance, (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour):
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(part * c for part, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


# --- words


def test_states_and_counts_are_worded_as_in_manage(visitor, timers, here, monkeypatch):
    monkeypatch.setitem(STATE_WORDS, "overdue", "too late")
    monkeypatch.setitem(COUNT_WORDS, "overdue", "Too late")
    monkeypatch.setitem(COUNT_WORDS, "pending", "There")
    timers.schedule("x", "invoices", timer_id="a")
    page = visitor.topic("invoices")

    assert "There: 1 Too late: 1 " in page.text
    assert "too late" in page.text
    assert "overdue" not in page.text.lower()
    assert "State too late" in visitor.follow(page, "a").text
