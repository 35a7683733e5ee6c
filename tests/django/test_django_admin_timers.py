"""The admin's pages of a topic's timers and of one timer."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from admin_pages import ODD, START, bytes_from, calls_of, ids_of
from django.test import override_settings
from django.utils import timezone

from faststream_redis_timers_sync.django import get_client
from faststream_redis_timers_sync.django.tokens import Place

HOUR = timedelta(hours=1)
LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)


# --- a topic's timers


def test_a_topic_is_opened_by_its_name_and_nothing_is_scanned(visitor, own_url):
    with override_settings(TIMERS={"default": {"URL": own_url}}):
        get_client().schedule("x", "invoices", timer_id="INV-001", activate_at=LATER)
        before = calls_of(own_url, "scan", "keys")
        assert "INV-001" in visitor.topic("invoices").links
        visitor.topics()
        assert calls_of(own_url, "scan", "keys") == before
        visitor.send(visitor.topics())
        assert calls_of(own_url, "scan") > before


def test_pages_leave_out_none_though_timers_of_earlier_ones_have_fired(visitor, timers):
    ids = [f"t{n:03}" for n in range(250)]
    # All at the same time, so that only their ids tell them apart.
    for timer_id in ids:
        timers.schedule("x", "invoices", timer_id=timer_id, activate_at=LATER)
    page = visitor.topic("invoices")
    seen = ids_of(page, ids)
    assert len(seen) == 100
    assert "250 timers" in page.text
    timers.cancel_timers("invoices", seen)
    while "Next page" in page.links:
        page = visitor.follow(page, "Next page")
        seen += ids_of(page, ids)
    assert seen == ids
    assert ids_of(visitor.follow(page, "First page"), ids) == ids[100:200]


def test_a_cursor_that_cannot_be_read_leads_to_the_first_page(visitor, timers):
    timers.schedule("x", "invoices", timer_id="INV-001", activate_at=LATER)
    for after in ("x", "a.b.c", "!.!", "bm9uZQ.YQ"):
        assert "INV-001" in visitor.topic("invoices", after=after).links


@pytest.mark.leaks_keys
def test_entries_without_payload_are_no_timers_and_no_end(visitor, timers, here):
    for n in range(250):
        here.plant("invoices", f"orphan-{n}", LATER.timestamp(), None)
    timers.schedule("x", "invoices", timer_id="INV-001", activate_at=LATER + HOUR)
    assert "INV-001" in visitor.topic("invoices").links
    assert "orphan" not in visitor.topic("invoices").text


@pytest.mark.parametrize("options", [{"protocol": 3}, {"decode_responses": True}])
def test_any_kind_of_replies_will_do(visitor, own_url, options):
    with override_settings(TIMERS={"default": {"URL": own_url, "OPTIONS": options}}):
        get_client().schedule("x", "letters", timer_id="a", activate_at=LATER)
        page = visitor.choose(visitor.topic("letters", q="a"), "cancel")
        assert "a 2099-06-01 09:00:00 in" in page.text
        page = visitor.send(page)
    assert "Cancelled: 1 timer." in page.text


def test_a_search_finds_parts_of_ids_or_patterns_in_due_order(visitor, timers):
    ids = [f"user:{n:03}:mail" for n in range(150)]
    for n, timer_id in enumerate(ids):
        due = LATER - n * HOUR
        timers.schedule("x", "invoices", timer_id=timer_id, activate_at=due)
    timers.schedule("x", "invoices", timer_id="user:[9]", activate_at=LATER)

    page = visitor.topic("invoices", q="mail")
    seen = ids_of(page, ids)
    assert seen == ids[:49:-1]
    assert "150 timers" in page.text
    assert ids_of(visitor.follow(page, "Next page"), ids) == ids[49::-1]
    assert ids_of(visitor.topic("invoices", q="user:00?:*"), ids) == ids[9::-1]
    for search in ("[9]", "*[[]9]", r"*\[9*"):
        assert "user:[9]" in visitor.topic("invoices", q=search).links
    assert "No timer matches." in visitor.topic("invoices", q="*nobody*").text


def test_times_are_in_the_time_zone_of_the_user(visitor, timers):
    timers.schedule("x", "invoices", timer_id="INV-001", activate_at=LATER)
    with timezone.override("Asia/Tokyo"):
        page = visitor.topic("invoices")
        timer = visitor.follow(page, "INV-001")
    assert "(Asia/Tokyo)" in page.text
    assert "2099-06-01 18:00:00" in page.text
    assert "Next delivery 2099-06-01 18:00:00 Asia/Tokyo (in " in timer.text


def test_a_time_that_no_zone_can_show_is_shown_all_the_same(visitor, timers, here):
    here.plant("invoices", "never", 1e300, b"x")
    with timezone.override("Asia/Tokyo"):
        assert "9999-12-31" in visitor.topic("invoices").text


def test_a_running_timer_shows_the_end_of_its_lease_and_says_so(visitor, timers, here):
    timers.schedule("x", "invoices", timer_id="runs")
    here.claim("invoices", lease_ttl=600.0)
    timers.schedule("x", "invoices", timer_id="late")
    timers.schedule("x", "invoices", timer_id="waits", activate_in=HOUR)
    page = visitor.topic("invoices")
    assert re.search(r"late [-0-9: ]+ (now|\d seconds? ago) overdue", page.text)
    assert re.search(r"runs lease ends [-0-9: ]+ in [\d]+ minutes running", page.text)
    assert re.search(r"waits [-0-9: ]+ in [\d]+ (hour|minutes) waiting", page.text)

    timer = visitor.follow(page, "runs")
    assert "Lease ends" in timer.text
    assert "A worker is running it." in timer.text
    assert "A worker runs it" not in visitor.follow(page, "waits").text


def test_lists_fetch_no_bodies(visitor, own_url):
    with override_settings(TIMERS={"default": {"URL": own_url}}):
        get_client().schedule("x" * 400_000, "invoices", timer_id="INV-001", activate_at=LATER)
        before = bytes_from(own_url)
        visitor.topics()
        visitor.topic("invoices", q="INV")
        page = visitor.topic("invoices")
        visitor.choose(page, "cancel")
        assert bytes_from(own_url) - before < 200_000
        visitor.follow(page, "INV-001")
        assert bytes_from(own_url) - before > 400_000


# --- a timer


def test_a_timer_shows_its_headers_and_its_body_indented(visitor, timers):
    timers.schedule(
        {"number": 1, "to": "<b>&"},
        "invoices",
        timer_id="INV-001",
        activate_at=LATER,
        headers={"tenant": "<i>"},
        correlation_id="order 7",
    )
    page = visitor.follow(visitor.topic("invoices"), "INV-001")
    assert "tenant <i>" in page.text
    assert "Correlation ID order 7" in page.text
    assert "Content type application/json" in page.text
    assert (
        "{\n  &quot;number&quot;: 1,\n  &quot;to&quot;: &quot;&lt;b&gt;&amp;&quot;\n}" in page.html
    )
    assert "<b>&" not in page.html
    assert "<i>" not in page.html


def test_a_long_body_is_cut(visitor, timers):
    timers.schedule("x" * 70_000, "invoices", timer_id="INV-001", activate_at=LATER)
    page = visitor.follow(visitor.topic("invoices"), "INV-001")
    assert "70,000 bytes" in page.text
    assert "cut after 65,536 characters" in page.text
    assert "x" * 65_536 in page.html
    assert "x" * 65_537 not in page.html


def test_a_large_body_is_not_even_decoded(visitor, timers):
    numbers = list(range(200_000))
    timers.schedule(numbers, "invoices", timer_id="INV-001", activate_at=LATER)
    page = visitor.follow(visitor.topic("invoices"), "INV-001")
    assert f"{len(json.dumps(numbers, separators=(',', ':'))):,} bytes" in page.text
    assert "cut after 65,536 characters" in page.text
    assert ">[0,1,2," in page.html


@pytest.mark.parametrize(
    ("body", "shown"), [("é" * 600_000, "é" * 65_536), (b"\xff" * 1_100_000, r"\xff" * 16_384)]
)
def test_any_large_body_is_shown_up_to_a_whole_character(visitor, timers, body, shown):
    timers.schedule(body, "invoices", timer_id="INV-001", activate_at=LATER)
    page = visitor.follow(visitor.topic("invoices"), "INV-001")
    assert f">{shown}</pre>" in page.html
    assert "cut after 65,536 characters" in page.text


def test_a_body_that_is_no_text_is_shown_as_bytes(visitor, timers):
    timers.schedule(b"\xff\0", "invoices", timer_id="INV-001", activate_at=LATER)
    page = visitor.follow(visitor.topic("invoices"), "INV-001")
    assert r"b'\xff\x00'" in page.text


def test_a_timer_that_has_fired_meanwhile_is_spoken_of(visitor, timers):
    timers.schedule("x", "invoices", timer_id="INV-001", activate_at=LATER)
    page = visitor.topic("invoices")
    timers.cancel_all("invoices")
    page = visitor.follow(page, "INV-001")
    assert "Timer “INV-001” is no longer pending: it was delivered or cancelled." in page.text
    assert "No timer is pending here." in page.text


@pytest.mark.parametrize("odd", ODD)
def test_odd_ids_and_topics_come_through_urls_and_forms(visitor, timers, odd):
    topic = odd.replace("\udcff", "y")
    timers.schedule("x", topic, timer_id="plain", activate_at=LATER)
    if odd.isascii() or "\udcff" not in odd:
        timers.schedule("x", topic, timer_id=odd, activate_at=LATER)
    else:
        keys = timers._operations.keys.of(topic)
        raw = odd.encode("utf-8", "surrogateescape")
        timers._runner.client.zadd(keys.timeline, {raw: LATER.timestamp()})
        timers._runner.client.hset(keys.payloads, raw, b"x")
    address = f"{START}topic/{visitor.quoted(Place('default', topic))}/"
    page = visitor.get(address)
    assert "2 timers" in page.text
    assert "<script>alert" not in page.html
    assert (
        "<script>alert"
        not in visitor.get(f"{START}{visitor.quoted(Place('default', topic, odd))}/change/").html
    )

    tokens = page.fields["_selected_action"]
    page = visitor.choose(page, "cancel", [token for token in tokens if token != "cGxhaW4"])  # noqa: S105
    assert "Cancel 1 timer of topic" in page.text
    page = visitor.send(page)
    assert "Cancelled: 1 timer." in page.text
    assert timers.get_pending_timers(topic) == ["plain"]
    history = visitor.get(f"{START}{visitor.quoted(Place('default', topic, odd))}/history/")
    assert "Cancelled." in history.text


@pytest.mark.parametrize("key", ["x", "YQ", "!.!", "YQ.", ".YQ", "_w.YQ", "YQ._w", "YQ.YQ.YQ.YQ"])
def test_an_address_that_names_nothing_is_not_found(visitor, timers, key):
    for address in (f"topic/{key}/", f"{key}/change/", f"{key}/delete/", f"{key}/reschedule/"):
        assert visitor.get(START + address).status == 404
