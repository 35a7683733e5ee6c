"""Test what happens in thirty days, without a server and without waiting.

pytest examples/test_thirty_days_later.py
"""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from faststream.exceptions import NackMessage

from faststream_redis_timers import TestTimersBroker, TimersBroker
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers_sync.testing import FakeTimersClient

DAY = timedelta(days=1)
MONTH = 30 * DAY

# --- the code under test

broker = TimersBroker()
trials = broker.publisher("trials")
mails: list[str] = []


@broker.subscriber("signups")
async def sign_up(user: str) -> None:
    await trials.publish(user, timer_id=f"trial:{user}", activate_in=MONTH)


@broker.subscriber("trials")
async def end_trial(user: str) -> None:
    mails.append(f"{user}, your trial has ended")


@broker.subscriber("reports")
async def report(day: int, message: TimerMessage) -> None:
    await broker.publish(day + 1, "reports", timer_id=message.timer_id, activate_in=DAY)


@dataclass
class Bank:
    """A service that is sometimes closed."""

    is_open: bool = True
    charged: list[str] = field(default_factory=list)


bank = Bank()


@broker.subscriber("invoices")
async def charge(number: str) -> None:
    if not bank.is_open:
        raise NackMessage(delay=timedelta(hours=1))
    bank.charged.append(number)


@pytest.fixture(autouse=True)
def _reset() -> None:
    mails.clear()
    bank.is_open, bank.charged = True, []


# --- the tests


@pytest.mark.asyncio
async def test_a_trial_ends_after_thirty_days() -> None:
    test = TestTimersBroker(broker, hold=True)
    async with test:
        await broker.publish("ada", "signups")
        await test.advance(MONTH - timedelta(seconds=1))
        assert mails == []
        assert await broker.has_pending("trials", "trial:ada")

        await test.advance(timedelta(seconds=1))
        assert mails == ["ada, your trial has ended"]
        end_trial.mock.assert_called_once_with("ada")


@pytest.mark.asyncio
async def test_a_user_who_has_paid_gets_no_mail() -> None:
    test = TestTimersBroker(broker, hold=True)
    async with test:
        await broker.publish("ada", "signups")
        await test.advance(7 * DAY)
        assert await broker.cancel_timer("trials", "trial:ada")

        await test.advance(MONTH)

    assert mails == []


@pytest.mark.asyncio
async def test_a_trial_that_is_extended_ends_later() -> None:
    test = TestTimersBroker(broker, hold=True)
    async with test:
        await broker.publish("ada", "signups")
        await test.advance()
        await broker.reschedule_timer("trials", "trial:ada", activate_in=MONTH + 7 * DAY)

        await test.advance(MONTH)
        assert mails == []
        await test.advance(7 * DAY)
        assert len(mails) == 1


@pytest.mark.asyncio
async def test_thirty_days_have_thirty_reports() -> None:
    test = TestTimersBroker(broker, hold=True)
    async with test:
        await broker.publish(1, "reports", timer_id="daily", activate_in=DAY)

        await test.advance(MONTH)

        assert [call.args for call in report.mock.call_args_list] == [(n + 1,) for n in range(30)]
        assert await broker.count_pending("reports") == 1


@pytest.mark.asyncio
async def test_an_invoice_is_charged_once_the_bank_is_open() -> None:
    test = TestTimersBroker(broker, hold=True)
    async with test:
        bank.is_open = False
        await broker.publish("INV-1", "invoices", timer_id="INV-1")
        await test.advance(timedelta(minutes=90))
        assert [call.args for call in charge.mock.call_args_list] == [("INV-1",), ("INV-1",)]

        bank.is_open = True
        await test.advance(timedelta(hours=1))

        assert bank.charged == ["INV-1"]
        assert not await broker.has_pending("invoices", "INV-1")


@pytest.mark.asyncio
async def test_what_a_web_view_schedules_reaches_the_worker() -> None:
    # The pytest fixture `timers` is such a client.
    timers = FakeTimersClient()
    test = TestTimersBroker(broker, hold=True, client=timers)
    async with test:
        timers.schedule("bob", "trials", timer_id="trial:bob", activate_in=MONTH)

        await test.advance(MONTH)

    assert mails == ["bob, your trial has ended"]
