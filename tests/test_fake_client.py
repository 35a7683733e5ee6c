"""`FakeTimersClient`: what a test sees that the contract suite, where it runs too, does not."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time as clock_time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import fakeredis
import pytest
from freezegun import freeze_time
from hypothesis import HealthCheck, example, given, settings, strategies as st

from faststream_redis_timers_sync import (
    Cron,
    Every,
    TimerExistsError,
    TimerPublishMessage,
    TimersClient,
)
from faststream_redis_timers_sync.manage.check import check_server
from faststream_redis_timers_sync.manage.selection import cancel_each, list_timers, reschedule_each
from faststream_redis_timers_sync.manage.server import count_keys, internals_of, server_time
from faststream_redis_timers_sync.manage.stats import count_topics
from faststream_redis_timers_sync.manage.topics import listening_topics, scan_topics
from faststream_redis_timers_sync.protocol.glob import glob
from faststream_redis_timers_sync.testing import FakePipeline, FakeTimersClient

TOPIC = "invoices"
HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)


@pytest.fixture
def fake():
    return FakeTimersClient()


@dataclass
class Invoice:
    number: str


# --- what was scheduled and cancelled ----------------------------------------------------


def test_what_was_scheduled_can_be_looked_at_as_given_and_as_encoded(fake):
    fake.schedule(
        Invoice("INV-1"),
        TOPIC,
        timer_id="42",
        activate_at=YEAR_2050,
        headers={"x-try": 2},
        correlation_id="order-7",
    )

    (timer,) = fake.scheduled
    assert timer.message == Invoice("INV-1")
    assert (timer.body, timer.content_type) == (b'{"number":"INV-1"}', "application/json")
    assert timer.decode() == {"number": "INV-1"}
    assert (timer.topic, timer.timer_id, timer.due_at) == (TOPIC, "42", YEAR_2050)
    assert timer.headers["x-try"] == "2"
    assert timer.correlation_id == "order-7"
    assert timer.running is False


def test_a_batch_is_recorded_timer_by_timer(fake):
    ids = fake.schedule_batch(
        ["a", TimerPublishMessage(Invoice("b"), timer_id="own", activate_at=YEAR_2050)],
        TOPIC,
        activate_at=YEAR_2050 + HOUR,
    )

    assert [timer.timer_id for timer in fake.scheduled] == ids
    assert [timer.message for timer in fake.scheduled] == ["a", Invoice("b")]
    assert [timer.due_at for timer in fake.scheduled] == [YEAR_2050 + HOUR, YEAR_2050]


def test_topics_are_recorded_with_their_prefix():
    fake = FakeTimersClient(prefix="my-service:")

    fake.schedule("x", TOPIC)

    assert fake.scheduled[0].topic == "my-service:invoices"


def test_all_that_was_scheduled_stays_recorded_whatever_became_of_it(fake):
    fake.schedule("old", TOPIC, timer_id="42", activate_at=YEAR_2050)
    fake.schedule("new", TOPIC, timer_id="42", activate_at=YEAR_2050)
    fake.reschedule_timer(TOPIC, "42", activate_in=HOUR)
    fake.cancel_timer(TOPIC, "42")

    assert [timer.message for timer in fake.scheduled] == ["old", "new"]
    assert {timer.due_at for timer in fake.scheduled} == {YEAR_2050}


def test_what_was_not_scheduled_is_not_recorded(fake):
    fake.schedule("old", TOPIC, timer_id="42", activate_in=HOUR)

    fake.schedule("kept out", TOPIC, timer_id="42", if_exists="keep")
    with pytest.raises(TimerExistsError):
        fake.schedule("refused", TOPIC, timer_id="42", if_exists="error")
    with pytest.raises(TypeError):
        fake.schedule("wrong", TOPIC, activate_in=30)
    with pytest.raises(ValueError, match="occurs twice"):
        fake.schedule_batch([TimerPublishMessage("wrong", timer_id="1")] * 2, TOPIC)

    assert [timer.message for timer in fake.scheduled] == ["old"]


def test_a_timer_that_waited_and_was_cancelled_is_recorded_as_it_was(fake):
    fake.schedule(Invoice("INV-1"), TOPIC, timer_id="42", activate_at=YEAR_2050)
    fake.reschedule_timer(TOPIC, "42", activate_at=YEAR_2050 + HOUR)

    assert fake.cancel_timer(TOPIC, "42") is True

    (timer,) = fake.cancelled
    assert (timer.timer_id, timer.message) == ("42", Invoice("INV-1"))
    assert timer.due_at == YEAR_2050 + HOUR


def test_cancelling_what_does_not_wait_is_not_recorded(fake):
    fake.schedule("x", TOPIC, timer_id="42")

    assert fake.cancel_timer(TOPIC, "43") is False
    assert fake.cancel_timer("other", "42") is False
    assert fake.cancelled == []

    fake.cancel_timer(TOPIC, "42")
    assert fake.cancelled == fake.scheduled


def test_cancelling_several_and_all_is_recorded(fake):
    for timer_id, hours in [("1", 3), ("2", 2), ("3", 4), ("4", 1)]:
        fake.schedule("x", TOPIC, timer_id=timer_id, activate_in=hours * HOUR)

    assert fake.cancel_timers(TOPIC, ["3", "unknown"]) == 1
    assert fake.cancel_all(TOPIC) == 3

    assert [timer.timer_id for timer in fake.cancelled] == ["3", "4", "2", "1"]
    assert fake.count_pending(TOPIC) == 0


def test_clear_forgets_everything_in_the_same_lists(fake):
    scheduled, cancelled = fake.scheduled, fake.cancelled
    fake.schedule("x", TOPIC, timer_id="42", activate_in=HOUR)
    fake.schedule("x", TOPIC)
    fake.cancel_timer(TOPIC, "42")
    fake.advance(1000 * HOUR)

    fake.clear()

    assert (scheduled, cancelled) == ([], [])
    assert scheduled is fake.scheduled
    assert cancelled is fake.cancelled
    assert fake.count_pending(TOPIC) == 0
    assert fake.now() - datetime.now(UTC) < HOUR


# --- time --------------------------------------------------------------------------------


def test_what_is_due_is_popped_in_order(fake):
    for timer_id, delay in [("late", 3 * HOUR), ("second", 2 * HOUR), ("first", HOUR)]:
        fake.schedule(timer_id, TOPIC, timer_id=timer_id, activate_in=delay)
    fake.schedule("x", "other")
    assert fake.pop_due(TOPIC) == []

    fake.advance(2 * HOUR)

    assert [timer.decode() for timer in fake.pop_due(TOPIC)] == ["first", "second"]
    assert fake.pop_due(TOPIC) == []
    assert fake.get_pending_timers(TOPIC) == ["late"]
    assert fake.count_pending("other") == 1
    assert fake.cancelled == []


def test_a_delay_counts_from_the_time_moved_to(fake):
    with freeze_time("2030-01-01 12:00:00.123456"):
        fake.advance(24 * HOUR)
        fake.schedule("x", TOPIC, activate_in=HOUR)

        assert fake.now() == datetime(2030, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
        assert fake.scheduled[0].due_at == fake.now() + HOUR


def test_freezegun_holds_and_moves_the_clock(fake):
    with freeze_time("2030-01-01 12:00") as clock:
        fake.schedule("x", TOPIC, activate_in=HOUR)
        assert fake.scheduled[0].due_at == datetime(2030, 1, 1, 13, tzinfo=UTC)

        clock.tick(HOUR - timedelta(microseconds=1))
        assert fake.pop_due(TOPIC) == []

        clock.tick(timedelta(microseconds=1))
        assert len(fake.pop_due(TOPIC)) == 1


def test_pop_due_knows_the_prefix():
    fake = FakeTimersClient(prefix="my-service:")
    fake.schedule("x", TOPIC)

    assert [timer.topic for timer in fake.pop_due(TOPIC)] == ["my-service:invoices"]
    assert fake.pop_due(TOPIC) == []


def test_a_year_of_a_daily_series_follows_the_clock_on_the_wall(fake):
    berlin = ZoneInfo("Europe/Berlin")
    daily = Cron("30 2 * * *", tz="Europe/Berlin")
    with freeze_time("2027-01-01 12:00"):
        fake.schedule("report", TOPIC, timer_id="42", repeat=daily)
        times = []
        for _ in range(365):
            fake.advance(timedelta(days=1))
            times += [timer.due_at.astimezone(berlin) for timer in fake.pop_due(TOPIC)]

        assert len({time.date() for time in times}) == len(times) == 365
        odd = {time.date(): time.time() for time in times if time.time() != clock_time(2, 30)}
        # Set forward from 2 to 3 that night; set back on October 31, when the first 2:30 counts.
        assert odd == {date(2027, 3, 28): clock_time(3)}
        assert {time.utcoffset() for time in times} == {HOUR, 2 * HOUR}
        assert fake.get_timer(TOPIC, "42").due_at == datetime(2028, 1, 2, 1, 30, tzinfo=UTC)
    assert len(fake.scheduled) == 1


def test_missed_times_of_a_series_share_one_delivery(fake):
    with freeze_time("2027-06-01 12:00"):
        fake.schedule("tick", TOPIC, timer_id="42", repeat=Every(minutes=5))

        fake.advance(timedelta(days=3, minutes=2))

        (timer,) = fake.pop_due(TOPIC)
        assert timer.due_at == datetime(2027, 6, 1, 12, 5, tzinfo=UTC)
        assert fake.pop_due(TOPIC) == []
        assert fake.get_timer(TOPIC, "42").due_at == datetime(2027, 6, 4, 12, 5, tzinfo=UTC)


def test_a_series_that_is_over_is_gone(fake):
    last_century = Every(days=36_525, start=datetime(9850, 1, 1, tzinfo=UTC))
    with freeze_time("9900-01-01"):
        fake.schedule("x", TOPIC, timer_id="42", repeat=last_century)
        fake.advance(timedelta(days=18_300))

        assert len(fake.pop_due(TOPIC)) == 1
        assert fake.count_pending(TOPIC) == 0
        with pytest.raises(ValueError, match="repeat must have a time after 9950"):
            fake.schedule("x", TOPIC, timer_id="42", repeat=last_century)


def test_a_paused_series_is_not_due(fake):
    fake.schedule("x", TOPIC, timer_id="42", repeat=Every(hours=1))
    fake.pause_timer(TOPIC, "42")

    fake.advance(timedelta(days=400))

    assert fake.pop_due(TOPIC) == []
    assert fake.get_timer(TOPIC, "42").paused
    assert fake.resume_timer(TOPIC, "42")
    fake.advance(HOUR)
    assert len(fake.pop_due(TOPIC)) == 1
    assert fake.cancelled == []


def test_what_was_scheduled_of_a_series_is_recorded_with_its_time(fake):
    with freeze_time("2027-06-01 12:00"):
        fake.schedule("old", TOPIC, timer_id="42", repeat=Every(hours=1))
        fake.schedule("new", TOPIC, timer_id="42", repeat=Every(hours=1))
        fake.schedule("new", TOPIC, timer_id="42", repeat=Every(hours=2))
        fake.cancel_timer(TOPIC, "42")

    assert [(timer.message, timer.repeat, timer.due_at.hour) for timer in fake.scheduled] == [
        ("old", Every(hours=1), 13),
        ("new", Every(hours=1), 13),
        ("new", Every(hours=2), 14),
    ]
    assert [(timer.timer_id, timer.repeat) for timer in fake.cancelled] == [("42", Every(hours=2))]


@pytest.mark.parametrize(
    ("by", "error", "text"),
    [
        (5, TypeError, "by=timedelta(seconds=5)"),
        (None, TypeError, "by must be a timedelta, got None"),
        (-HOUR, ValueError, "by must not be negative, got"),
    ],
)
def test_time_moves_by_a_length_and_forward(fake, by, error, text):
    with pytest.raises(error) as caught:
        fake.advance(by)

    assert text in str(caught.value)


# --- pipelines ---------------------------------------------------------------------------


def work(client: TimersClient, pipeline: Any) -> list[Any]:
    """Put calls of all kinds into a pipeline; give what they returned."""
    messages = [TimerPublishMessage(n, timer_id=f"b{n}") for n in range(501)]
    return [
        client.schedule("x", TOPIC, timer_id="1", activate_in=HOUR, pipeline=pipeline),
        client.schedule("y", TOPIC, timer_id="1", if_exists="keep", pipeline=pipeline),
        client.reschedule_timer(TOPIC, "1", activate_at=YEAR_2050, pipeline=pipeline),
        client.reschedule_timer(TOPIC, "2", activate_at=YEAR_2050, pipeline=pipeline),
        client.schedule_batch(messages, TOPIC, pipeline=pipeline),
        client.schedule("z", TOPIC, timer_id="s", repeat=Every(days=400), pipeline=pipeline),
        client.schedule("z", TOPIC, timer_id="s", repeat=Every(days=400), pipeline=pipeline),
        client.schedule("z", TOPIC, timer_id="s", repeat=Every(days=401), pipeline=pipeline),
        client.cancel_timer(TOPIC, "b1", pipeline=pipeline),
        client.cancel_timer(TOPIC, "b1", pipeline=pipeline),
    ]


def test_its_pipeline_answers_as_a_servers_does(fake, key_names, redis_client):
    real = TimersClient(redis_client, **key_names)

    with fake.pipeline() as pipeline, redis_client.pipeline() as real_pipeline:
        assert work(fake, pipeline) == work(real, real_pipeline)
        assert len(pipeline) == len(real_pipeline)
        assert fake.scheduled == []
        assert fake.count_pending(TOPIC) == 0

        assert pipeline.execute() == real_pipeline.execute()
        assert pipeline.execute() == []

    assert set(fake.get_pending_timers(TOPIC)) == set(real.get_pending_timers(TOPIC))
    assert [timer.message for timer in fake.scheduled] == ["x", *range(501), *"zzz"]
    assert [timer.timer_id for timer in fake.cancelled] == ["b1"]


def test_a_delay_in_its_pipeline_counts_from_when_it_is_executed(fake):
    pipeline = fake.pipeline()
    fake.schedule("x", TOPIC, activate_in=HOUR, pipeline=pipeline)

    with freeze_time("2030-01-01 12:00"):
        pipeline.execute()

    assert fake.scheduled[0].due_at == datetime(2030, 1, 1, 13, tzinfo=UTC)


def test_a_pipeline_that_is_never_executed_does_nothing(fake):
    with fake.pipeline() as pipeline:
        fake.schedule("x", TOPIC, pipeline=pipeline)
    pipeline.execute()

    assert fake.scheduled == []


def test_commands_of_pipelines_may_be_put_together(fake):
    # As schedule_on_commit of Django does.
    first, second = fake.pipeline(), fake.pipeline()
    fake.schedule("x", TOPIC, timer_id="42", pipeline=first)
    fake.cancel_timer(TOPIC, "42", pipeline=second)

    first.command_stack.extend(second.command_stack)

    assert first.execute(raise_on_error=False) == [b"1", b"w"]


def test_if_exists_error_is_refused_in_its_pipeline_as_in_any(fake):
    with pytest.raises(ValueError, match='if_exists="error" can\'t be used with pipeline='):
        fake.schedule("x", TOPIC, if_exists="error", pipeline=fake.pipeline())


def test_its_pipeline_takes_no_commands_of_a_server(fake):
    with pytest.raises(NotImplementedError, match="no server that answers SET"):
        fake.pipeline().set("a", "b")


def test_a_pipeline_of_a_server_is_refused(fake, redis_client):
    for client in (redis_client, fakeredis.FakeRedis()):
        pipeline = client.pipeline()
        for call in (
            lambda pipeline: fake.schedule("x", TOPIC, pipeline=pipeline),
            lambda pipeline: fake.schedule_batch(["x"], TOPIC, pipeline=pipeline),
            lambda pipeline: fake.cancel_timer(TOPIC, "42", pipeline=pipeline),
            lambda pipeline: fake.reschedule_timer(
                TOPIC, "42", activate_in=HOUR, pipeline=pipeline
            ),
        ):
            with pytest.raises(TypeError, match=r"executed elsewhere.*its own pipeline"):
                call(pipeline)
        assert len(pipeline) == 0
    with pytest.raises(TypeError, match=r"pipeline must be a redis\.client\.Pipeline"):
        fake.cancel_timer(TOPIC, "42", pipeline=redis_client)


def test_a_pipeline_of_another_fake_is_refused(fake):
    with pytest.raises(TypeError, match="its own pipeline"):
        fake.schedule("x", TOPIC, pipeline=FakeTimersClient().pipeline())


# --- wherever a client is expected -------------------------------------------------------


def test_it_is_a_client_that_can_be_closed_and_goes_on(fake):
    assert isinstance(fake, TimersClient)
    assert isinstance(fake.pipeline(), FakePipeline)
    with fake:
        assert fake.ping() is True
    fake.schedule("x", TOPIC)

    assert fake.count_pending(TOPIC) == 1


def test_two_fakes_know_nothing_of_each_other(fake):
    fake.schedule("x", TOPIC)

    assert FakeTimersClient().count_pending(TOPIC) == 0


def test_threads_may_share_it(fake):
    start = threading.Barrier(8)

    def schedule_and_cancel(number):
        start.wait()
        for n in range(100):
            fake.schedule(n, TOPIC, timer_id=f"{number}:{n}", activate_in=HOUR)
            if n % 2:
                assert fake.cancel_timer(TOPIC, f"{number}:{n}") is True

    threads = [threading.Thread(target=schedule_and_cancel, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(fake.scheduled) == 800
    assert len(fake.cancelled) == fake.count_pending(TOPIC) == 400


def test_what_looks_after_timers_works_on_it():
    fake = FakeTimersClient(prefix="my-service:")
    with freeze_time("2030-01-01 12:00"):
        fake.schedule("x", TOPIC, timer_id="now")
        for n in (3, 1, 2):
            fake.schedule("x", TOPIC, timer_id=f"user:{n}", activate_in=n * HOUR)
        fake.schedule("x", "gone", timer_id="42")
        fake.cancel_timer("gone", "42")

        (stats,) = count_topics(fake, [TOPIC]).topics
        assert (stats.pending, stats.overdue, stats.within_hour, stats.within_day) == (4, 1, 1, 3)
        assert stats.next_at == fake.now()
        assert stats.last_at == fake.now() + 3 * HOUR
        assert stats.workers == 0
        assert count_topics(fake, ["empty"]).topics[0].next_at is None
        assert server_time(fake) == fake.now()
    assert scan_topics(fake).topics == {TOPIC}
    assert listening_topics(fake) == {}
    assert count_keys(fake) == 1
    assert "in-memory" in internals_of(fake).runner.address
    matching = list_timers(fake, TOPIC, match="user:*", limit=2)
    assert [timer.timer_id for timer in matching] == ["user:1", "user:2"]
    assert list(reschedule_each(fake, TOPIC, ["user:1", "unknown"], activate_at=YEAR_2050)) == [
        ("user:1", "waiting"),
        ("unknown", "unknown"),
    ]
    assert fake.get_timer(TOPIC, "user:1").due_at == YEAR_2050
    assert list(cancel_each(fake, TOPIC, ["user:1", "user:1", "unknown"])) == [
        ("user:1", "waiting"),
        ("unknown", "unknown"),
    ]


def test_a_question_that_only_a_server_can_answer_is_refused_with_a_sentence(fake):
    with pytest.raises(NotImplementedError, match=r"FakeTimersClient has no server.* INFO"):
        list(check_server(fake))


def test_it_needs_no_server_no_fakeredis_and_no_pytest():
    code = """
import socket, sys
for name in ("fakeredis", "pytest", "freezegun", "lupa"):
    sys.modules[name] = None
from datetime import timedelta
from faststream_redis_timers_sync.testing import FakeTimersClient
def refuse(*args, **kwargs): raise AssertionError("a socket")
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
with FakeTimersClient() as fake:
    fake.schedule({"number": 1}, "invoices", timer_id="42")
    fake.advance(timedelta(hours=1))
    assert [timer.decode() for timer in fake.pop_due("invoices")] == [{"number": 1}]
    assert fake.ping()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# --- patterns ----------------------------------------------------------------------------


def matches_on_server(redis_client, key: str, pattern: bytes, text: bytes) -> bool:
    redis_client.delete(key)
    redis_client.hset(key, text, b"")
    _, found = redis_client.hscan(key, match=pattern)
    return bool(found)


@given(
    pattern=st.lists(st.sampled_from([*"*?[]^-\\abc", "é"]), max_size=8).map("".join),
    text=st.lists(st.sampled_from([*"abc-]^\\", "é"]), min_size=1, max_size=5).map("".join),
)
@example("[a-c]", "b")
@example("[c-a]", "b")
@example("[é-*", "a")
@example("[^a]", "b")
@example("[^]", "b")
@example("[]", "b")
@example("[ab", "b")
@example("[a-]", "-")
@example("[\\]]", "]")
@example("\\*", "*")
@example("\\", "\\")
@example("?", "é")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_patterns_match_as_redis_matches(redis_client, key_names, pattern, text):
    key = key_names["attempts_key"] + "-glob"
    is_match = glob(pattern.encode()).fullmatch(text.encode()) is not None

    assert is_match is matches_on_server(redis_client, key, pattern.encode(), text.encode())
    redis_client.delete(key)


# --- pytest's fixture --------------------------------------------------------------------

TESTS_OF_A_USER = """
import sys

KEPT = []
LOADED_AT_THE_START = sorted(sys.modules)


def test_nothing_heavy_is_loaded_by_the_plugin():
    print("LOADED", LOADED_AT_THE_START)


def test_first(timers):
    KEPT.append(timers)
    timers.schedule("x", "invoices", timer_id="42")
    assert [timer.timer_id for timer in timers.scheduled] == ["42"]


def test_second(timers):
    assert timers is not KEPT[0]
    assert timers.scheduled == []
    assert not timers.has_pending("invoices", "42")
    assert KEPT[0].scheduled == []
    assert not KEPT[0].has_pending("invoices", "42")
"""


@pytest.fixture
def run_pytest(tmp_path) -> Callable[..., str]:
    """Run the tests of a user who has the plugin, in a process of their own."""

    def run_pytest(*args: str) -> str:
        (tmp_path / "test_user.py").write_text(TESTS_OF_A_USER)
        options = ["-c", "/dev/null", "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
        plugin = ["-p", "faststream_redis_timers_sync.pytest_plugin"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *plugin, *args, str(tmp_path)],
            # Installed plugins are others' matter, this one's entry point included.
            env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_pytest


def test_each_test_has_a_fake_of_its_own_that_is_cleared_afterwards(run_pytest):
    assert "3 passed" in run_pytest()


def test_the_plugin_loads_neither_redis_nor_anything_else_heavy(run_pytest):
    output = run_pytest("-s", "-k", "heavy")

    (line,) = [line for line in output.splitlines() if "LOADED" in line]
    loaded = set(json.loads(line.partition("LOADED ")[2].replace("'", '"')))
    assert "faststream_redis_timers_sync.pytest_plugin" in loaded
    heavy = {"redis", "freezegun", "fakeredis", "faststream", "pydantic", "opentelemetry"}
    assert loaded & heavy == set()
    assert "faststream_redis_timers_sync.client" not in loaded


def test_the_fixture_explains_itself(run_pytest):
    assert "FakeTimersClient" in run_pytest("--fixtures")
