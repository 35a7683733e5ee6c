"""What a user of the blocking client writes, also in Django, Flask and tests; nothing runs it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, assert_type

import pytest
import redis
from flask import Flask

from faststream_redis_timers_sync import (
    Cron,
    EnsuredSeries,
    Every,
    Repeat,
    Series,
    Timer,
    TimerExistsError,
    TimerOutcomeUnknownError,
    TimerPublishMessage,
    TimersClient,
    TimersError,
    next_times,
)
from faststream_redis_timers_sync.django import (
    cancel_on_commit,
    get_client,
    schedule_on_commit,
)
from faststream_redis_timers_sync.flask import FlaskTimers
from faststream_redis_timers_sync.testing import FakeTimersClient

server = redis.Redis(host="localhost", decode_responses=True)
timers = TimersClient(server, prefix="shop:")
from_url = TimersClient("redis://localhost:6379", options={"socket_timeout": 5})


def remind_later(
    invoice: dict[str, Any], wait: timedelta | None = None, until: datetime | None = None
) -> str:
    """Forward both times as they come."""
    timer_id = timers.schedule(invoice, "invoices", activate_in=wait, activate_at=until)
    timers.reschedule_timer("invoices", timer_id, activate_in=wait, activate_at=until)
    timers.schedule_batch([invoice], "invoices", activate_in=wait, activate_at=until)
    schedule_on_commit(invoice, "invoices", activate_in=wait, activate_at=until)
    return timer_id


def schedule_and_look() -> None:
    with TimersClient("redis://localhost") as client:
        assert_type(client, TimersClient)
    timer_id = timers.schedule(
        b"raw",
        topic="invoices",
        timer_id="INV-1",
        correlation_id="order-7",
        headers={"x-try": 2},
        reply_to="answers",
        if_exists="keep",
    )
    assert_type(timer_id, str)
    messages = [TimerPublishMessage("b", timer_id="b", activate_in=timedelta(days=1))]
    assert_type(timers.schedule_batch(messages, "invoices"), list[str])

    assert_type(timers.reschedule_timer("invoices", "1", activate_in=timedelta(0)), bool)
    assert_type(timers.cancel_timer("invoices", "1"), bool)
    assert_type(timers.cancel_timers("invoices", ["1", "2"]), int)
    assert_type(timers.cancel_all("invoices"), int)
    assert_type(timers.has_pending("invoices", "1"), bool)
    assert_type(timers.get_timer("invoices", "1"), Timer | None)
    assert_type(timers.get_pending_timers("invoices", before=None), list[str])
    assert_type(timers.iter_timers("invoices", bodies=False), Iterator[Timer])
    assert_type(timers.count_pending("invoices"), int)
    assert_type(timers.ping(), bool)
    timers.close()


def schedule_recurring_timers(wait: timedelta, first: datetime) -> None:
    every, cron = Every(minutes=5), Cron("0 9 * * MON-FRI", tz="Europe/Berlin")
    timers.schedule("x", "reports", timer_id="daily", repeat=cron)
    timers.schedule("x", "reports", timer_id="often", repeat=Every(wait, start=first))
    timers.schedule("x", "reports", timer_id="often", repeat=every, if_exists="update")
    messages = [
        TimerPublishMessage("b", timer_id="b", repeat=Every(days=1, spread=True)),
        TimerPublishMessage("c", timer_id="c", activate_in=wait),
    ]
    assert_type(timers.schedule_batch(messages, "reports", repeat=every), list[str])
    schedule_on_commit("x", "reports", timer_id="daily", repeat=cron, if_exists=None)

    assert_type(timers.pause_timer("reports", "daily"), bool)
    assert_type(timers.resume_timer("reports", "daily"), bool)
    if (timer := timers.get_timer("reports", "daily")) is not None:
        assert_type(timer.repeat, Repeat | None)
        assert_type(timer.paused, bool)
    assert_type(cron.after(first), datetime | None)
    assert_type(next_times(cron, 3, after=first), list[datetime])

    series = [Series({"n": 1}, "reports", timer_id="daily", repeat=cron, headers={"x": 1})]
    ensured = timers.ensure_series(series, owner="shop")
    assert_type(ensured, EnsuredSeries)
    assert_type(ensured.removed, list[tuple[str, str]])
    assert_type(timers.ensure_series(iter(series), owner="shop", prune=True), EnsuredSeries)
    assert_type(timers.compare_series(tuple(series), owner="shop"), EnsuredSeries)


def in_a_transaction() -> None:
    with server.pipeline() as pipeline:
        assert_type(timers.schedule("x", "invoices", pipeline=pipeline), str)
        # There is no answer before the pipeline is executed.
        assert_type(timers.cancel_timer("invoices", "1", pipeline=pipeline), None)
        pipeline.execute()


def handle_errors() -> None:
    try:
        timers.schedule("x", "invoices", if_exists="error")
    except TimerExistsError as error:
        raise ValueError from error
    except TimerOutcomeUnknownError as error:
        assert_type(error.topic, str)
    except TimersError:
        raise


# --- Django and Flask --------------------------------------------------------------------


def in_a_view() -> None:
    assert_type(get_client(), TimersClient)
    assert_type(get_client("reports"), TimersClient)
    timer_id = schedule_on_commit("x", "invoices", timer_id="1", using="reports")
    cancel_on_commit("invoices", timer_id)


extension = FlaskTimers()


def create_app() -> Flask:
    app = Flask(__name__)
    extension.init_app(app)
    FlaskTimers(app)
    return app


def in_a_request() -> None:
    assert_type(extension.client, TimersClient)


# --- tests of a user's own ---------------------------------------------------------------


@pytest.fixture
def fake() -> FakeTimersClient:
    return FakeTimersClient(prefix="shop:")


def test_reminding(fake: FakeTimersClient) -> None:
    as_client: TimersClient = fake
    as_client.schedule("x", "invoices", activate_in=timedelta(days=30))
    fake.advance(timedelta(days=30))
    assert_type(fake.pop_due("invoices"), list[Timer])
    assert_type(fake.now(), datetime)
    assert fake.scheduled[0].message == "x"
    assert fake.cancelled == []
    with fake.pipeline() as pipeline:
        fake.cancel_timer("invoices", "1", pipeline=pipeline)
