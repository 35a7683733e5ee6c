"""The fake client and pytest's fixture `timers`, where only redis-py and pytest are installed."""

from datetime import UTC, datetime, timedelta

import pytest

from faststream_redis_timers_sync import TimerExistsError, TimersClient
from faststream_redis_timers_sync.testing import FakeTimersClient

NOON = datetime(2099, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Invoices:
    """A user's own code, which is given a client."""

    def __init__(self, timers: TimersClient) -> None:
        self._timers = timers

    def send(self, number: str) -> None:
        self._timers.schedule(
            {"number": number}, "reminders", timer_id=number, activate_in=30 * 24 * HOUR
        )

    def pay(self, number: str) -> bool:
        return self._timers.cancel_timer("reminders", number)


def test_a_reminder_is_scheduled_for_every_invoice(timers):
    before = timers.now()
    Invoices(timers).send("INV-1")

    (reminder,) = timers.scheduled
    assert reminder.topic == "reminders"
    assert reminder.message == {"number": "INV-1"}
    assert before <= reminder.due_at - 30 * 24 * HOUR <= timers.now()


def test_a_reminder_is_cancelled_when_the_invoice_is_paid(timers):
    invoices = Invoices(timers)
    invoices.send("INV-1")

    assert invoices.pay("INV-1") is True
    assert invoices.pay("INV-1") is False
    assert [timer.timer_id for timer in timers.cancelled] == ["INV-1"]


def test_a_reminder_is_due_when_its_time_has_come(timers):
    Invoices(timers).send("INV-1")
    assert timers.pop_due("reminders") == []

    timers.advance(30 * 24 * HOUR)

    assert [timer.decode() for timer in timers.pop_due("reminders")] == [{"number": "INV-1"}]


@pytest.fixture(params=["real", "in memory"])
def either(request):
    return request.getfixturevalue("client") if request.param == "real" else FakeTimersClient()


def test_the_fake_answers_as_the_real_client_does(either):
    assert either.schedule("a", "invoices", timer_id="1", activate_at=NOON) == "1"
    either.schedule("kept out", "invoices", timer_id="1", if_exists="keep")
    with pytest.raises(TimerExistsError, match="'1'"):
        either.schedule("refused", "invoices", timer_id="1", if_exists="error")
    either.schedule_batch(["b", b"\xff", None, {"a": 1}], "invoices", activate_at=NOON + HOUR)

    assert either.get_timer("invoices", "1").decode() == "a"
    assert either.count_pending("invoices") == 5
    assert either.get_pending_timers("invoices", before=NOON) == ["1"]
    assert either.reschedule_timer("invoices", "1", activate_at=NOON + 2 * HOUR) is True
    assert either.get_pending_timers("invoices")[-1] == "1"
    assert either.cancel_timers("invoices", ["1", "unknown"]) == 1
    assert either.cancel_all("invoices") == 4
    assert either.has_pending("invoices", "1") is False
    assert either.ping() is True
    with pytest.raises(ValueError, match="timer_id must not be empty"):
        either.cancel_timer("invoices", "")
