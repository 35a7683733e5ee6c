"""The forecast: how many timers are due when."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import fakeredis
import pytest
from dead import dead_letter_all
from freezegun import freeze_time
from front_ends import Home
from series import series

from faststream_redis_timers_sync import TimerPublishMessage, TimersClient
from faststream_redis_timers_sync.manage.forecast import (
    KEPT_SECONDS,
    MOST_KEPT,
    MOST_TOPICS,
    Forecasts,
    Part,
    Range,
    edges_of,
    largest,
    read_range,
)
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.manage.stats import count_topics
from faststream_redis_timers_sync.protocol.dead_letters import REASON, TOPIC
from faststream_redis_timers_sync.protocol.management import (
    MOST_EDGES,
    MOST_FORECAST,
    DueCounts,
    forecast,
)

START = datetime(2030, 1, 1, 12, 34, 56, 789, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

everywhere = pytest.mark.parametrize("home", ["real", "fake", "tagged", "cluster"], indirect=True)


@pytest.fixture
def client(home):
    """A client of a home's keys."""
    with home.blocking() as connections:
        yield TimersClient(connections, **home.key_names)


@pytest.fixture
def still():
    """A client whose server's time stands still."""
    with freeze_time(START):
        yield TimersClient(fakeredis.FakeRedis())


def schedule(timers, topic, *times):
    timers.schedule_batch([TimerPublishMessage("x", activate_at=time) for time in times], topic)


# --- the call


@everywhere
def test_a_timer_due_at_an_edge_is_behind_it_and_in_one_part_alone(client, home):
    edges = [datetime(2040, 1, 1, tzinfo=UTC) + n * MINUTE for n in range(3)]
    around = [edge + shift for edge in edges for shift in (-MICROSECOND, 0 * DAY, MICROSECOND)]
    schedule(client, "invoices", *around)

    now, (counts,) = home.runner.run(forecast(home.operations.keys, ["invoices"], edges))

    assert counts == DueCounts(pending=9, overdue=0, paused=0, before=(1, 4, 7))
    assert abs(home.now() - now) < MINUTE


@everywhere
def test_each_topic_of_a_call_is_counted_by_itself(client, home):
    topics = (
        [f"{{x}}:{letter}" for letter in "abcde"] if home.key_names.get("hash_tags") else "abcde"
    )
    for n, topic in enumerate(topics):
        schedule(client, topic, *[datetime(2040, 1, 1, tzinfo=UTC)] * n)

    _, counts = home.runner.run(
        forecast(home.operations.keys, topics, [datetime(2041, 1, 1, tzinfo=UTC)])
    )

    assert [(one.pending, one.before) for one in counts] == [(n, (n,)) for n in range(5)]


@everywhere
def test_what_is_overdue_runs_or_is_paused_is_told_apart(client, home):
    home.runner.run_steps(home.operations.schedule_batch("invoices", [series("p"), series("s")]))
    assert home.runner.run(home.operations.pause("invoices", "p"))
    client.schedule("x", "invoices", timer_id="late")
    client.schedule("x", "invoices", timer_id="runs")
    # In order of due time: both were due before.
    assert len(home.claim("invoices").claimed) == 2
    client.schedule("x", "invoices", timer_id="late")

    made = Forecasts(client).of(["invoices"])

    # A recurring timer counts once, one that runs at the end of its lease.
    assert (made.overdue, made.total, made.later, made.paused) == (1, 2, 0, 1)
    assert (made.dead, made.dead_topics) == (0, ())


# --- ranges


@pytest.mark.parametrize(
    ("reach", "ends"),
    [
        (Range.HOUR, [START.replace(minute=n, second=0, microsecond=0) for n in (35, 36)]),
        (Range.DAY, [datetime(2030, 1, 1, 13, tzinfo=UTC), datetime(2030, 1, 1, 14, tzinfo=UTC)]),
        (Range.MONTH, [datetime(2030, 1, 2, tzinfo=UTC), datetime(2030, 1, 3, tzinfo=UTC)]),
    ],
)
def test_a_range_is_cut_at_whole_minutes_hours_and_days(reach, ends):
    edges = edges_of(reach, START)

    assert list(edges[:2]) == ends
    assert len(edges) == reach.parts == 6 * reach.labelled
    assert edges[-1] - edges[0] == (reach.parts - 1) * (ends[1] - ends[0])


@pytest.mark.parametrize("reach", Range)
def test_the_first_part_ends_after_now_where_now_is_an_edge(reach):
    now = datetime(2030, 1, 1, tzinfo=UTC)

    first, second, *_ = edges_of(reach, now)

    assert first - now == second - first


def test_days_are_whole_in_the_time_zone_and_may_have_other_lengths():
    edges = edges_of(Range.MONTH, datetime(2030, 3, 25, 12, tzinfo=UTC), ZoneInfo("Europe/Berlin"))

    assert edges[0] == datetime(2030, 3, 25, 23, tzinfo=UTC)
    lengths = [(end - start) / HOUR for start, end in pairwise(edges)]
    assert sorted(set(lengths)) == [23, 24]
    # The clocks are put forward on the 31st.
    assert lengths.index(23) == 5


def test_hours_are_whole_in_time_zones_that_are_half_an_hour_off():
    edges = edges_of(Range.DAY, START, ZoneInfo("Asia/Kolkata"))

    assert edges[0] == datetime(2030, 1, 1, 13, 30, tzinfo=UTC)
    assert edges[1] - edges[0] == HOUR


@pytest.mark.parametrize("reach", Range)
@pytest.mark.parametrize("name", ["Europe/Berlin", "Africa/Cairo", "Australia/Lord_Howe", "UTC"])
def test_edges_ascend_all_year_round(reach, name):
    for day in range(366):
        now = START + day * DAY
        edges = edges_of(reach, now, ZoneInfo(name))
        assert now < edges[0]
        assert all(a < b for a, b in pairwise(edges))
        assert {edge.utcoffset() for edge in edges} == {timedelta(0)}
        assert not any(edge.microsecond for edge in edges)


def test_a_name_of_no_range_is_told_with_those_that_there_are():
    assert list(map(read_range, ["hour", "day", "month"])) == list(Range)
    for name in ("", "Hour", "week", "hour ", "<script>"):
        with pytest.raises(ValueError) as refused:
            read_range(name)
        assert str(refused.value) == (f"range must be one of 'hour', 'day', 'month', got {name!r}")


@pytest.mark.parametrize("reach", Range)
def test_a_call_is_for_few_edges(reach):
    # Each takes up to 3 microseconds of the server.
    topics = min(MOST_FORECAST, MOST_EDGES // reach.parts)
    assert 2 <= topics <= 5
    assert topics * reach.parts <= 160


# --- a forecast


def test_parts_begin_now_and_end_at_edges(still):
    hour = START.replace(minute=0, second=0, microsecond=0)
    # What is scheduled for the past is due now.
    schedule(still, "invoices", START - DAY, START, START + MICROSECOND)
    schedule(still, "invoices", hour + HOUR - MICROSECOND, hour + HOUR, hour + 2 * HOUR)
    schedule(still, "invoices", hour + 24 * HOUR - MICROSECOND, hour + 24 * HOUR, hour + 365 * DAY)

    made = Forecasts(still).of(["invoices"], Range.DAY)

    assert made.at == START
    assert made.overdue == 2
    assert made.parts[:3] == [
        Part(START, hour + HOUR, 2),
        Part(hour + HOUR, hour + 2 * HOUR, 1),
        Part(hour + 2 * HOUR, hour + 3 * HOUR, 1),
    ]
    assert made.parts[-1] == Part(hour + 23 * HOUR, hour + 24 * HOUR, 1)
    assert (made.total, made.later) == (5, 2)
    assert made.fullest == made.parts[0]
    assert made.ticks == made.parts[::4]
    assert made.overdue + made.total + made.later == still.count_pending("invoices")


def test_topics_are_added_up_each_once(still):
    topics = [f"topic-{n}" for n in range(12)]
    for topic in topics:
        schedule(still, topic, START + HOUR, START + HOUR, START + 3 * HOUR)

    made = Forecasts(still).of([*topics, *topics, "unknown"])

    assert made.topics == (*topics, "unknown")
    assert made.counts == (0, 24, 0, 12, *[0] * 20)


def test_how_many_are_due_before_an_edge(still):
    schedule(still, "invoices", START, START + MINUTE, START + 2 * MINUTE)
    made = Forecasts(still).of(["invoices"], Range.HOUR)
    first, second, *_, last = made.edges

    assert [made.before(edge) for edge in (first, second, last)] == [1, 2, 3]
    assert made.before(first + MICROSECOND) is None
    assert made.before(START) is None


def test_a_later_forecast_shows_what_has_left_before_an_edge():
    with freeze_time(START) as clock:
        timers = TimersClient(fakeredis.FakeRedis())
        schedule(timers, "invoices", *(START + n * MINUTE for n in range(1, 61)))
        edge = Forecasts(timers).of(["invoices"], Range.HOUR).edges[-1]
        clock.tick(10 * MINUTE)
        timers.cancel_timers(
            "invoices", timers.get_pending_timers("invoices", before=START + HOUR)[:7]
        )

        assert Forecasts(timers).of(["invoices"], Range.HOUR).before(edge) == 60 - 1 - 7


@everywhere
def test_nothing_is_due_where_there_is_nothing(client, home):
    for topics in ([], ["unknown"]):
        made = Forecasts(client).of(topics, Range.HOUR)
        assert (made.total, made.overdue, made.later, made.fullest) == (0, 0, 0, None)
        assert made.is_empty
        assert len(made.counts) == len(made.edges) == 60


@pytest.mark.parametrize("home", ["real", "tagged", "cluster"], indirect=True)
def test_the_server_s_clock_decides(client, home):
    client.schedule("x", "invoices", activate_in=HOUR)
    client.schedule("x", "invoices")
    with freeze_time("2001-01-01"):
        made = Forecasts(client).of(["invoices"], Range.MONTH)

    assert abs(home.now() - made.at) < MINUTE
    assert (made.overdue, made.total) == (1, 1)


def test_the_first_part_may_end_before_a_topic_is_counted(still):
    schedule(still, "invoices", START, START + MINUTE, START + 2 * MINUTE)
    _, keys, _ = internals_of(still)
    edges = [START.replace(second=0, microsecond=0) + n * MINUTE for n in range(4)]

    # The time was asked for before the first of these.
    _, (counts,) = internals_of(still).runner.run(forecast(keys, ["invoices"], edges))

    assert counts.overdue == 1
    assert counts.before == (0, 1, 2, 3)


@everywhere
def test_prefixes_stand_before_topics(client, home):
    with home.blocking() as connections:
        mine = TimersClient(connections, **home.key_names, prefix="shop:")
        mine.schedule("x", "invoices", activate_in=MINUTE)
        client.schedule("x", "invoices", activate_in=MINUTE)

        made = Forecasts(mine).of(["invoices", "shop:invoices"])

    assert (made.topics, made.total) == (("invoices", "shop:invoices"), 1)


def test_topics_that_cannot_be_are_refused(still):
    forecasts = Forecasts(still)
    with pytest.raises(ValueError, match="topic"):
        forecasts.of([""])
    with pytest.raises(
        TypeError, match=r"topics must be several strings, got one: write \['abc'\]"
    ):
        forecasts.of("abc")
    with pytest.raises(ValueError, match="topics must be at most 100, got 101: choose the largest"):
        forecasts.of(map(str, range(MOST_TOPICS + 1)))
    with pytest.raises(ValueError, match="range must be one of 'hour', 'day', 'month', got 'week'"):
        forecasts.of(["a"], "week")


# --- the largest topics


def test_the_largest_topics_are_chosen_in_their_order(still):
    topics = [f"topic-{n}" for n in range(MOST_TOPICS + 20)]
    for n, topic in enumerate(topics):
        schedule(still, topic, *[START + HOUR] * (n % 10))

    chosen = largest(count_topics(still, topics).topics)

    assert len(chosen) == MOST_TOPICS
    assert chosen == sorted(chosen, key=topics.index)
    left = set(topics) - set(chosen)
    assert {int(topic[-1]) for topic in left} == {0, 1}


# --- dead letters


@pytest.mark.parametrize("home", ["real", "cluster"], indirect=True)
def test_dead_letter_topics_are_told_apart(client, home):
    for timer_id in "abc":
        client.schedule("x", "invoices", timer_id=timer_id)
    dead_letter_all(home)
    client.schedule("x", "invoices", activate_in=MINUTE)

    made = Forecasts(client).of(["invoices", "invoices:dead"])

    assert (made.dead_topics, made.dead) == (("invoices:dead",), 3)
    assert (made.overdue, made.total) == (0, 1)
    alone = Forecasts(client).of(["invoices:dead"])
    assert alone.is_empty
    assert alone.dead == 3


def test_a_topic_that_is_overdue_as_a_whole_holds_no_dead_letters(still):
    schedule(still, "invoices", START, START)

    made = Forecasts(still).of(["invoices"])

    assert (made.overdue, made.dead) == (2, 0)


@pytest.mark.leaks_keys
@pytest.mark.parametrize("home", ["tagged", "cluster"], indirect=True)
def test_a_torn_topic_is_counted(client, home):
    for timer_id in "ab":
        home.plant("invoices", timer_id, 1.0, None)

    assert Forecasts(client).of(["invoices"]).overdue == 2


def test_the_first_dead_letter_is_read_once(own_server, own_url):
    with TimersClient(own_url) as timers:
        home = Home({}, own_url)
        timers.schedule("x", "invoices", timer_id="a")
        timers.schedule("x", "invoices", timer_id="b")
        dead_letter_all(home)
        clock = Clock()
        forecasts = Forecasts(timers, clock=clock)
        own_server.config_resetstat()
        for _ in range(3):
            clock.now += KEPT_SECONDS
            assert forecasts.of(["invoices:dead"]).dead == 2
        assert calls_of(own_server, "hget") == 1

        assert timers.redrive("invoices:dead", timers.get_pending_timers("invoices:dead")[:1]) == 1
        clock.now += KEPT_SECONDS
        own_server.config_resetstat()
        assert forecasts.of(["invoices:dead"]).dead == 1
        assert calls_of(own_server, "hget") == 1
        home.redis.close()


# --- what it costs


def calls_of(server, name):
    return server.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"]


@pytest.mark.parametrize(("reach", "scripts"), [(Range.HOUR, 6), (Range.DAY, 3), (Range.MONTH, 3)])
def test_calls_and_counts_are_as_few_as_can_be(reach, scripts, own_server, own_url):
    topics = list("abcdefghijkl")
    with TimersClient(own_url) as timers:
        forecasts = Forecasts(timers, clock=Clock())
        # The script is known from now on.
        forecasts.of(["z"], reach)
        own_server.config_resetstat()
        for _ in range(3):
            forecasts.of(topics, reach)

    assert calls_of(own_server, "evalsha") == scripts
    # The edges, what is overdue and what is paused; its time is asked for once beside that.
    assert calls_of(own_server, "zcount") == len(topics) * (reach.parts + 2)
    assert calls_of(own_server, "time") == scripts + 1


# --- what is kept


class Clock:
    """A clock that tests set."""

    now = 0.0

    def __call__(self):
        return self.now


def test_a_forecast_is_kept_for_five_seconds(still):
    clock = Clock()
    forecasts = Forecasts(still, clock=clock)
    first = forecasts.of(["invoices"])
    schedule(still, "invoices", START + HOUR)

    clock.now = KEPT_SECONDS - 0.01
    assert forecasts.of(["invoices"]) is first
    clock.now = KEPT_SECONDS
    assert forecasts.of(["invoices"]).total == 1


def test_each_range_zone_and_choice_of_topics_is_kept_by_itself(still):
    forecasts = Forecasts(still, clock=Clock())
    asked = [
        (["a"], Range.DAY, UTC),
        (["b"], Range.DAY, UTC),
        (["a", "b"], Range.DAY, UTC),
        (["a"], Range.HOUR, UTC),
        (["a"], Range.DAY, ZoneInfo("Asia/Kolkata")),
    ]
    made = [forecasts.of(*each) for each in asked]

    assert [(one.topics, one.range, one.zone) for one in made] == [
        (tuple(topics), reach, zone) for topics, reach, zone in asked
    ]
    assert all(forecasts.of(*each) is one for each, one in zip(asked, made, strict=True))


def test_no_more_than_some_are_kept_and_the_oldest_go_first(still):
    forecasts = Forecasts(still, clock=Clock())
    first = forecasts.of(["0"])
    for n in range(1, MOST_KEPT):
        forecasts.of([str(n)])
    assert forecasts.of(["0"]) is first

    last = forecasts.of(["one more"])

    assert len(forecasts._kept) == MOST_KEPT
    assert forecasts.of(["one more"]) is last
    assert forecasts.of(["0"]) is not first


def test_what_has_grown_old_is_not_kept(still):
    clock = Clock()
    forecasts = Forecasts(still, clock=clock)
    for n in range(10):
        forecasts.of([str(n)])
    clock.now = KEPT_SECONDS
    forecasts.of(["new"])

    assert len(forecasts._kept) == 1


def test_threads_may_share_it(own_server, own_url):
    with TimersClient(own_url) as timers:
        forecasts = Forecasts(timers)
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(lambda n: forecasts.of([str(n % 80)]), range(800)))

    assert [one.topics for one in made] == [(str(n % 80),) for n in range(800)]
    assert len(forecasts._kept) <= MOST_KEPT


# --- words


@pytest.mark.parametrize("home", ["real"], indirect=True)
def test_a_dead_letter_is_called_so(client, home, invoke):
    client.schedule("x", "invoices")
    (dead_id,) = dead_letter_all(home)

    shown = invoke("show", "invoices:dead", dead_id.decode()).stdout

    assert re.search("State +dead letter\n", shown)
    assert "overdue" not in shown


def test_what_was_made_while_somebody_forgot_is_not_kept(still):
    schedule(still, "invoices", START + MINUTE)
    forecasts = Forecasts(still)
    made = forecasts._is_dead

    def change_meanwhile(*arguments):
        still.cancel_all("invoices")
        forecasts.forget("invoices")
        return made(*arguments)

    forecasts._is_dead = change_meanwhile
    assert forecasts.of(["invoices"]).total == 1
    del forecasts._is_dead
    assert forecasts.of(["invoices"]).total == 0


def test_a_timer_that_has_just_gone_is_asked_for_again(still):
    forecasts = Forecasts(still)
    assert not forecasts._is_dead_letter("invoices:dead", "1")
    headers = {REASON: "attempts", TOPIC: "invoices"}
    still.schedule("x", "invoices:dead", timer_id="1", headers=headers)
    assert forecasts._is_dead_letter("invoices:dead", "1")
