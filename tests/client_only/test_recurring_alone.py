"""Recurring timers of the blocking client, with and without what the extra `cron` brings."""

import sys
from datetime import UTC, datetime, timedelta

import pytest

from faststream_redis_timers_sync import Cron, Every, next_times

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC)


def test_periods_need_no_library(client):
    every = Every(minutes=5)
    assert next_times(every, 2, after=NOON) == [NOON + n * timedelta(minutes=5) for n in (1, 2)]

    assert client.schedule("a", "ticks", timer_id="tick", repeat=every) == "tick"

    timer = client.get_timer("ticks", "tick")
    assert timer.repeat == every
    assert timer.due_at == every.at_or_before(timer.due_at)
    assert timer.due_at > datetime.now(UTC) - timedelta(minutes=1)


def test_recurring_timers_are_paused_resumed_and_cancelled(client):
    client.schedule("a", "ticks", timer_id="tick", repeat=Every(minutes=5))

    assert client.pause_timer("ticks", "tick")
    assert client.get_timer("ticks", "tick").paused
    assert client.resume_timer("ticks", "tick")
    assert client.cancel_timer("ticks", "tick")


def rewrite(server, client, old, new):
    """Write another definition of the same length over one, as its bytes are in the payload."""
    (key,) = server.scan_iter(match="timers_payloads:*")
    payload = server.hget(key, "daily")
    assert payload.count(old) == 1
    assert len(old) == len(new)
    server.hset(key, "daily", payload.replace(old, new))
    return client.get_timer("reports", "daily")


@pytest.fixture
def cron_timer(server, client):
    """A timer as a client with the extra schedules it."""
    client.schedule("a", "reports", timer_id="daily", repeat=Every(minutes=5, seconds=1))
    return rewrite(server, client, b"every 301.000000 0.000000", b"cron UTC 00 9 * * MON-FRI")


def test_cron_is_read_without_any_library(client, cron_timer):
    assert isinstance(cron_timer.repeat, Cron)
    assert cron_timer.repeat.definition == "cron UTC 00 9 * * MON-FRI"
    assert (cron_timer.repeat.expression, cron_timer.repeat.tz) == ("00 9 * * MON-FRI", "UTC")
    assert str(cron_timer.repeat) == "00 9 * * MON-FRI UTC"
    (listed,) = client.iter_timers("reports")
    assert listed == cron_timer

    assert client.pause_timer("reports", "daily")
    assert client.reschedule_timer("reports", "daily", activate_in=timedelta(hours=1))
    assert client.cancel_timer("reports", "daily")


def test_times_of_cron_need_a_library_that_the_error_names(client, cron_timer, monkeypatch):
    # CI runs this where it is not installed, and where it is.
    monkeypatch.setitem(sys.modules, "cronsim", None)
    assert client.pause_timer("reports", "daily")
    for needs_it in (
        lambda: Cron("0 9 * * *"),
        lambda: next_times(cron_timer.repeat, 1),
        lambda: client.resume_timer("reports", "daily"),
        lambda: client.schedule("a", "reports", timer_id="daily", repeat=cron_timer.repeat),
    ):
        with pytest.raises(ModuleNotFoundError) as caught:
            needs_it()
        assert str(caught.value) == (
            "Cron needs cronsim, which is not installed: "
            "pip install 'faststream-redis-timers[cron]'"
        )
    assert client.get_timer("reports", "daily").paused
    assert client.cancel_timer("reports", "daily")
