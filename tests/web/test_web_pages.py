"""The pages of topics, of a topic's timers and of one timer."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from dead import dead_letter_all
from web_pages import EVERYTHING, ODD, visitor_of

from faststream_redis_timers_sync import Every, TimersClient
from faststream_redis_timers_sync.manage import (
    forecast,
    pages as manage_pages,
    scanning,
    topics as manage_topics,
)
from faststream_redis_timers_sync.web import (
    Access,
    TimerPages,
    topic as topic_pages,
    topics as topics_pages,
)

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
DAILY = Every(days=1)


# --- topics


def test_topics_are_counted(visitor, timers, here):
    timers.schedule("x", "invoices", timer_id="running")
    here.claim("invoices")
    timers.schedule("x", "invoices", timer_id="overdue")
    timers.schedule("x", "invoices", timer_id="waiting", activate_at=LATER)
    timers.schedule("x", "invoices", timer_id="paused", repeat=DAILY)
    timers.pause_timer("invoices", "paused")

    page = visitor.get()

    assert page.status == 200
    assert "Topic Pending Running Overdue Paused Next delivery Workers" in page.text
    assert "invoices 4 1 1 for" in page.text
    assert "for now" not in page.text
    assert page.links["invoices"] == "?topic=invoices"


def test_the_counts_of_running_timers_need_to_know_the_longest_lease(make_pages, invoices):
    page = visitor_of(make_pages(topics=["invoices"])).get()

    assert "Topic Pending Overdue Next delivery Workers" in page.text
    assert "invoices 5 0 2099-06-01 09:00:00 UTC" in page.text


def test_dead_letters_stand_apart_with_the_oldest(visitor, timers, here):
    timers.schedule("x", "invoices", timer_id="a")
    dead_letter_all(here)
    timers.schedule("x", "invoices", timer_id="b", activate_at=LATER)

    page = visitor_of(
        TimerPages(timers, allow=lambda _: Access("ops"), topics=["invoices", "invoices:dead"])
    ).get()

    topics, dead = page.text.split("Dead letters Dead-letter topic", 1)
    assert "invoices 1 0 2099" in topics
    assert "invoices:dead" not in topics
    assert "Oldest invoices:dead 1 2" in dead


def test_dead_letter_topics_are_told_by_their_timers(timers, here):
    timers.schedule("x", "invoices", timer_id="a")
    dead_letter_all(here, dead_topic="graveyard")
    page = visitor_of(TimerPages(timers, allow=lambda _: Access("ops"), topics=["graveyard"])).get()

    assert "Oldest graveyard 1 2" in page.text


def test_without_topics_the_page_says_what_to_do(make_pages):
    assert "No topics are known yet" in visitor_of(make_pages()).get().text


def test_more_topics_are_looked_for_step_by_step(make_pages, timers, redis_client, monkeypatch):
    monkeypatch.setattr(scanning, "SCAN_SECONDS", 0.0)
    others = [f"other-{timers!r}-{n}" for n in range(2500)]
    redis_client.mset(dict.fromkeys(others, "x"))
    timers.schedule("x", "hidden", activate_at=LATER)
    visitor = visitor_of(make_pages())
    page = visitor.get()
    steps = 0
    try:
        button = "Search for more topics"
        while button in page.buttons:
            page = visitor.press(page, button)
            steps, button = steps + 1, "Continue searching"
    finally:
        redis_client.delete(*others)

    assert steps >= 3
    assert "hidden 1 0 2099" in page.text
    assert "Scanned all" in page.text


@pytest.mark.parametrize("state", ["nonsense", "W10", "bnVsbA"])
def test_a_scan_that_cannot_be_read_starts_over(visitor, invoices, state):
    page = visitor.post("do=scan", [("scan", state)])

    assert page.status == 200
    assert "Scanned" in page.text


def test_a_scan_ends_when_there_are_more_topics_than_a_page_shows(make_pages, timers, monkeypatch):
    monkeypatch.setattr(scanning, "MOST_TOPICS", 2)
    for topic in "abc":
        timers.schedule("x", topic, activate_at=LATER)
    visitor = visitor_of(make_pages())
    page = visitor.press(visitor.get(), "Search for more topics")

    assert "open the others by name" in page.text
    assert "Continue searching" not in page.buttons


def test_many_topics_have_pages_in_order_of_their_names(make_pages, timers, monkeypatch):
    monkeypatch.setattr(topics_pages, "ON_A_PAGE", 3)
    names = [f"topic {n}?" for n in range(8)]
    for topic in names[:-1]:
        timers.schedule("x", topic, activate_at=LATER)
    visitor = visitor_of(make_pages(topics=names))
    page = visitor.get("refresh=60")
    pages = [page]
    while "Next page" in page.links:
        page = visitor.follow(page, "Next page")
        pages.append(page)

    shown = [[text for text in page.links if text.startswith("topic ")] for page in pages]
    assert shown == [names[:3], names[3:6], names[6:]]
    assert page.links["First page"] == "?refresh=60"
    # Each page counts and refreshes what it shows.
    assert visitor.follow(pages[1], "Refresh").links["topic 4?"] == "?topic=topic%204%3F&refresh=60"
    assert [page.text.count("1 0 2099-06-01") for page in pages] == [3, 3, 1]


@pytest.mark.parametrize("after", ["!", "_w"])
def test_a_page_of_topics_that_there_is_not_is_refused(visitor, after):
    assert visitor.get(f"after={after}").status == 400


def test_where_there_is_no_time_to_count_running_timers_that_is_said(visitor, timers, monkeypatch):
    monkeypatch.setattr(topics_pages, "PART_SECONDS", 0.0)
    topics = ["a", "b", "c"]
    for topic in topics:
        timers.schedule("x", topic, activate_at=LATER)
    page = visitor_of(
        TimerPages(timers, allow=lambda _: EVERYTHING, topics=topics, longest_lease=30)
    ).get()

    assert "no time to count the running timers of all topics" in page.text
    assert "c 1 ? 0 2099" in page.text


def test_a_scan_goes_on_however_long_the_names_are_that_it_has_found(
    make_pages, timers, monkeypatch
):
    monkeypatch.setattr(scanning, "SCAN_SECONDS", 0.0)
    monkeypatch.setattr(manage_topics, "SCAN_COUNT", 100)
    names = {f"{n}-{'é' * 200}" for n in range(400)}
    for topic in names:
        timers.schedule("x", topic, activate_at=LATER)
    visitor = visitor_of(make_pages())
    page = visitor.press(visitor.get(), "Search for more topics")
    found = set(page.links) & names
    while "Continue searching" in page.buttons:
        page = visitor.press(page, "Continue searching")
        assert page.status == 200
        found |= set(page.links) & names

    assert found == names
    assert "Some topics found earlier are no longer listed" in page.text
    assert "Scanned all" in page.text


def test_the_forecast_is_drawn_with_a_table_and_a_note(visitor, timers):
    timers.schedule("x", "invoices", activate_in=timedelta(minutes=30))
    page = visitor.get("range=hour")

    assert "svg" in page.tags
    assert "Due within an hour, by minutes" in page.text
    assert "A running timer counts at the end of its lease" in page.text
    assert page.text.count("Minute Due timers") == 1
    assert page.links["30 days"] == "?range=month"


def test_the_refresh_link_shows_what_has_left_since(visitor, timers, monkeypatch):
    monkeypatch.setattr(forecast, "KEPT_SECONDS", 0.0)
    for timer_id in "abc":
        in_30 = timedelta(minutes=30)
        timers.schedule("x", "invoices", timer_id=timer_id, activate_in=in_30)
    for query in ("range=hour", "topic=invoices&range=hour"):
        page = visitor.get(query)
        assert "since the last refresh" not in page.text
        timers.cancel_timer("invoices", "a")
        page = visitor.follow(page, "Refresh")
        assert "1 timer left since the last refresh" in page.text
        timers.schedule("x", "invoices", timer_id="a", activate_in=in_30)
        assert "1 timer more than at the last refresh" in visitor.follow(page, "Refresh").text


def test_a_forecast_that_is_kept_shows_no_change(visitor, invoices):
    page = visitor.get("topic=invoices")

    assert "last refresh" not in visitor.follow(page, "Refresh").text


@pytest.mark.parametrize("seen", ["nonsense", "1,2,3", "2026-01-01T00:00Z,2026-01-01T00:00Z,1"])
def test_a_last_look_that_cannot_be_read_is_none(visitor, invoices, seen):
    page = visitor.get(f"seen={seen}")

    assert page.status == 200
    assert "last refresh" not in page.text


def test_pages_refresh_themselves_without_a_script_too(visitor, invoices):
    page = visitor.follow(visitor.get("topic=invoices"), "15 s")

    assert '<noscript><meta http-equiv="refresh" content="15"></noscript>' in page.html
    assert 'data-refresh="15"' in page.html
    # What is followed from there goes on so.
    assert page.links["a"] == "?topic=invoices&timer=a&refresh=15"


# --- a topic


def test_a_topic_lists_its_timers(visitor, invoices):
    page = visitor.follow(visitor.get(), "invoices")

    assert "Pending 5 Overdue 0 Listening workers 0" in page.text
    assert "Timer ID Next delivery State a 2099-06-01 09:00:00 UTC in" in page.text
    assert "waiting" in page.text
    assert "5 timers" in page.text


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("other", {"other-1", "other-2"}),
        ("?", {"a", "b", "c"}),
        ("*-2", {"other-2"}),
        ("zzz", set()),
    ],
)
def test_timers_are_searched_by_text_or_pattern(visitor, invoices, search, found):
    page = visitor.get(f"topic=invoices&q={search}")

    assert {text for text in page.links if text in {"a", "b", "c", "other-1", "other-2"}} == found
    assert ("No timer matches." in page.text) is not found


def test_the_search_form_names_the_topic_whatever_its_name(make_pages, timers):
    topic = "two\r\nlines <b>"
    timers.schedule("x", topic, timer_id="a", activate_at=LATER)
    visitor = visitor_of(make_pages(topics=[topic]))
    page = visitor.get(visitor.get().links[r"two\r\nlines <b>"])
    form = next(form for form in page.forms if "Search" in form.buttons)
    token = dict(form.fields)["of"]

    page = visitor.get(f"of={token}&q=a&only=")

    assert page.status == 200
    assert "1 timer" in page.text


@pytest.mark.parametrize("state", ["waiting", "running", "overdue", "paused", "recurring"])
def test_timers_are_filtered_by_state(visitor, timers, here, state):
    timers.schedule("x", "invoices", timer_id="is-running")
    here.claim("invoices")
    timers.schedule("x", "invoices", timer_id="is-overdue")
    timers.schedule("x", "invoices", timer_id="is-waiting", activate_at=LATER)
    for timer_id in ("is-paused", "is-recurring"):
        timers.schedule("x", "invoices", timer_id=timer_id, repeat=DAILY)
    timers.pause_timer("invoices", "is-paused")

    page = visitor.get(f"topic=invoices&only={state}")

    shown = {text for text in page.links if text.startswith("is-")}
    wanted = {f"is-{state}"}
    if state == "recurring":
        wanted |= {"is-paused"}
    if state == "waiting":
        wanted |= {"is-recurring"}
    assert shown == wanted
    # A form can't say which timers a state means.
    assert "Select all" not in page.text
    assert page.text.count("Search IDs State any waiting running overdue recurring paused") == 1


def test_pages_go_on_by_cursor_though_timers_are_gone_meanwhile(visitor, timers, monkeypatch):
    monkeypatch.setattr(topic_pages, "ON_A_PAGE", 2)
    for n in range(5):
        timers.schedule(
            "x", "invoices", timer_id=f"t-{n}", activate_at=LATER + timedelta(minutes=n)
        )
    first = visitor.get("topic=invoices")
    timers.cancel_timer("invoices", "t-0")
    second = visitor.follow(first, "Next page")
    third = visitor.follow(second, "Next page")

    shown = [
        [text for text in page.links if text.startswith("t-")] for page in (first, second, third)
    ]
    assert shown == [["t-0", "t-1"], ["t-2", "t-3"], ["t-4"]]
    assert "Next page" not in third.links
    assert third.links["First page"] == "?topic=invoices"


def test_a_cursor_that_cannot_be_read_is_refused(visitor, invoices):
    assert visitor.get("topic=invoices&after=nonsense").status == 400
    assert visitor.get("topic=invoices&after=YQ.YQ").status == 400


def until_the_end(visitor, page):
    """Go on until all was looked at; give all pages."""
    pages = [page]
    while "Continue" in page.links:
        page = visitor.follow(page, "Continue")
        pages.append(page)
    return pages


@pytest.fixture
def no_time(monkeypatch):
    monkeypatch.setattr(topic_pages, "PAGE_SECONDS", 0.0)


@pytest.mark.usefixtures("no_time")
def test_a_search_whose_time_is_up_goes_on_and_finds_all_once(visitor, timers):
    ids = {f"needle-{n}" for n in range(40)}
    for some in (ids, {f"t-{n}" for n in range(9000)}):
        for timer_id in some:
            timers.schedule("x", "invoices", timer_id=timer_id, activate_at=LATER)
    pages = until_the_end(visitor, visitor.get("topic=invoices&q=needle"))

    assert len(pages) >= 4
    shown = [text for page in pages for text in page.links if text.startswith("needle-")]
    assert sorted(shown) == sorted(ids)
    looked = [re.search(r"Examined ([\d,]+) of 9,040 timers", p.text) for p in pages[:-1]]
    counts = [int(one[1].replace(",", "")) for one in looked]
    assert counts == sorted(set(counts))
    assert "Examined" not in pages[-1].text
    assert "40 timers" not in pages[-1].text


@pytest.mark.usefixtures("no_time")
def test_all_that_match_can_be_chosen_before_they_are_found(visitor, timers):
    for n in range(4000):
        timers.schedule("x", "invoices", timer_id=f"t-{n}", activate_at=LATER)
    page = visitor.get("topic=invoices&q=t-")

    assert "Select all that match the search" in page.text
    asked = visitor.press(page, "Cancel", all="1")
    assert "Cancel all timers that match “*t-*” (4,000 timers)" in asked.text


@pytest.mark.usefixtures("no_time")
def test_a_whole_id_is_on_the_first_page_of_a_search(visitor, timers):
    timers.schedule_batch(["x"] * 4000, "invoices", activate_at=LATER)
    timer_id = max(timer.timer_id for timer in timers.iter_timers("invoices"))
    pages = until_the_end(visitor, visitor.get(f"topic=invoices&q={timer_id}"))

    assert timer_id in pages[0].links
    assert not any(timer_id in page.links for page in pages[1:])
    assert "There are no more timers." in pages[-1].text


@pytest.mark.usefixtures("no_time")
def test_a_state_whose_time_is_up_goes_on_at_the_next_page(visitor, invoices, monkeypatch):
    monkeypatch.setattr(manage_pages, "MOST_READ", 2)
    page = visitor_of(TimerPages(invoices, allow=lambda _: Access("ops"), topics=["invoices"])).get(
        "topic=invoices&only=running"
    )

    assert "Examined 4 of 5 timers: continue for the rest." in page.text
    assert "None found yet." in page.text
    page = visitor.follow(page, "Continue")
    assert "There are no more timers." in page.text
    assert "Continue" not in page.links


def test_an_unknown_topic_is_not_found(visitor, invoices):
    page = visitor.get("topic=nope")

    assert page.status == 404
    assert "Topic “nope” is unknown" in page.text


def test_a_topic_that_the_application_names_may_be_empty(visitor):
    assert "No timer is pending here." in visitor.get("topic=invoices").text


# --- a timer


def test_a_timer_is_shown_with_its_size_alone(visitor, invoices):
    page = visitor.follow(visitor.get("topic=invoices"), "a")

    assert "State waiting Next delivery 2099-06-01 09:00:00 UTC" in page.text
    assert "6 bytes, text/plain" in page.text
    assert "Bodies are hidden here" in page.text
    assert "secret" not in page.html


def test_a_body_is_shown_as_far_as_the_application_allows(make_pages, invoices):
    seen = []

    def show_body(topic, timer):
        seen.append((topic, timer.timer_id))
        return timer.body.replace(b"secret", b"s*****") if timer.timer_id == "a" else None

    visitor = visitor_of(make_pages(show_body=show_body))

    assert "s*****" in visitor.get("topic=invoices&timer=a").text
    assert "Bodies are hidden here" in visitor.get("topic=invoices&timer=b").text
    assert seen == [("invoices", "a"), ("invoices", "b")]


def test_a_series_shows_its_definition_and_its_next_three_times(visitor, timers):
    timers.schedule("x", "invoices", timer_id="s", repeat=Every(hours=1))
    page = visitor.get("topic=invoices&timer=s")

    assert "Repeats every 1h" in page.text
    assert page.html.count("<li>") == 5
    assert "Pause" in page.buttons
    assert "Resume" not in page.buttons
    timers.pause_timer("invoices", "s")
    page = visitor.get("topic=invoices&timer=s")
    assert "It is paused" in page.text
    assert "Next times, if resumed now" in page.text
    assert "Resume" in page.buttons


def test_a_dead_letter_says_why_it_is_dead(visitor, timers, here):
    timers.schedule("x", "invoices", timer_id="a", headers={"x-tenant": "acme"})
    (dead_id,) = dead_letter_all(here)
    page = visitor.get(f"topic=invoices:dead&timer={dead_id.decode()}")

    assert "State dead letter Dead-lettered at" in page.text
    assert "its attempts are used up (attempts: 3, last error: ValueError)" in page.text
    assert "From topic invoices Timer ID there a First due" in page.text
    assert "x-tenant acme" in page.text
    assert "Redrive" in page.buttons


def test_a_running_timer_says_so(visitor, timers, here):
    timers.schedule("x", "invoices", timer_id="a")
    here.claim("invoices")

    assert "A worker is running it." in visitor.get("topic=invoices&timer=a").text


def test_a_timer_that_is_not_pending_is_not_found(visitor, invoices):
    page = visitor.get("topic=invoices&timer=gone")

    assert page.status == 404
    assert "Timer “gone” of topic “invoices” is no longer pending" in page.text
    assert visitor.get("timer=a").status == 400


@pytest.mark.parametrize("timer_id", ODD)
def test_any_id_has_a_page_and_can_be_cancelled(visitor, timers, timer_id, redis_client, key_names):
    timers.schedule("x", "invoices", timer_id="plain", activate_at=LATER)
    name = timer_id.encode("utf-8", "surrogateescape")
    # Not all of them can be scheduled by this library.
    payload = redis_client.hget(f"{key_names['payloads_key']}:invoices", "plain")
    redis_client.hset(f"{key_names['payloads_key']}:invoices", name, payload)
    redis_client.zadd(f"{key_names['timeline_key']}:invoices", {name: LATER.timestamp()})
    listed = visitor.get("topic=invoices")
    (link,) = [
        link
        for link in listed.links.values()
        if link.startswith("?topic=invoices&timer=") and not link.endswith("plain")
    ]
    page = visitor.get(link)
    assert page.status == 200

    done = visitor.press(visitor.press(page, "Cancel"), "Yes, cancel")

    assert "Cancelled 1." in done.text
    assert [timer.timer_id for timer in timers.iter_timers("invoices")] == ["plain"]


# --- what goes wrong


def test_a_server_that_is_away_is_a_page_that_says_since_when(relay, key_names):
    with TimersClient(relay.url, **key_names) as client:
        client.schedule("x", "invoices", timer_id="a", activate_at=LATER)
        visitor = visitor_of(TimerPages(client, allow=lambda _: Access("ops"), topics=["invoices"]))
        assert visitor.get().status == 200
        relay.refuse()
        begun = datetime.now(UTC)
        page = visitor.get()
        again = visitor.get("topic=invoices")

        assert (page.status, again.status) == (503, 503)
        assert "can't be reached: connection refused" in page.text
        since = page.text.partition("Not reached since ")[2][:23]
        assert since in again.text
        found = datetime.strptime(since, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
        assert found >= begun.replace(microsecond=0)

        relay.accept()
        assert visitor.get().status == 200


def test_an_error_of_show_body_costs_the_body_alone(make_pages, invoices, caplog):
    def show_body(topic, timer):
        msg = "s3cret"
        raise RuntimeError(msg)

    page = visitor_of(make_pages(show_body=show_body)).get("topic=invoices&timer=a")

    assert page.status == 200
    assert "The body could not be shown: see the application's log." in page.text
    assert "s3cret" not in page.html
    (line,) = caplog.records
    assert line.levelname == "ERROR"
    assert line.getMessage() == "show_body failed for timer a of topic invoices"
    assert "s3cret" in caplog.text


def test_a_body_that_is_no_bytes_is_not_shown(make_pages, invoices, caplog):
    pages = make_pages(show_body=lambda _, __: "s3cret")
    page = visitor_of(pages).get("topic=invoices&timer=a")

    assert page.status == 200
    assert "The body could not be shown" in page.text
    assert "show_body must return bytes or None, got str" in caplog.text
    assert "s3cret" not in caplog.text


def test_an_error_of_the_application_is_a_page_and_a_line_of_the_log(make_pages, invoices, caplog):
    def allow(request):
        msg = "s3cret"
        raise RuntimeError(msg)

    page = visitor_of(make_pages(allow=allow)).get("topic=invoices&timer=a")

    assert page.status == 500
    assert "s3cret" not in page.html
    assert "s3cret" in caplog.text


def test_the_stylesheet_the_script_and_the_icon_are_kept_under_their_hashes(visitor, invoices):
    page = visitor.get()
    for kind in ("css", "js", "icon"):
        address = next(a for _, a in page.attributes if a and f"asset={kind}" in a)
        kept = visitor.get(address)
        assert kept.status == 200
        assert "immutable" in kept.headers["cache-control"]
        assert visitor.get(f"asset={kind}&v=old").headers["cache-control"] == "no-store"
    assert visitor.get("asset=exe").status == 400


def test_head_and_other_methods(visitor, invoices):
    assert visitor.send("HEAD", "", {}, b"").status == 200
    page = visitor.send("PUT", "", {}, b"")
    assert (page.status, page.headers["allow"]) == (405, "GET, HEAD, POST")
