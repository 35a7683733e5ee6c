"""Test handlers without a server: at once, or with the real delivery loop on fakeredis.

To move time without fakeredis and freezegun, see test_thirty_days_later.py.

pytest examples/test_time_travel.py
"""

import asyncio
from datetime import UTC, datetime, timedelta

import fakeredis
import pytest
from freezegun import freeze_time

from faststream_redis_timers import TestTimersBroker, TimersBroker, TimersRouter

MONTH = timedelta(days=30)

# --- the code under test

router = TimersRouter()
mails: list[str] = []


@router.subscriber("signups")
async def sign_up(user: str) -> None:
    await trials.publish(user, timer_id=f"trial:{user}", activate_in=MONTH)


trials = router.publisher("trials")


@router.subscriber("trials")
async def end_trial(user: str) -> None:
    mails.append(f"{user}, your trial has ended")


def make_broker(client: fakeredis.FakeAsyncRedis | None = None) -> TimersBroker:
    broker = TimersBroker(client)
    broker.include_router(router)
    return broker


@pytest.fixture(autouse=True)
def _no_mails() -> None:
    mails.clear()


# --- at once: timers do not wait, and are recorded


@pytest.mark.asyncio
async def test_signing_up_schedules_the_end_of_the_trial() -> None:
    testing = TestTimersBroker(make_broker())
    async with testing as broker:
        await broker.publish("ada", topic="signups")

    _, trial = testing.scheduled_timers
    assert trial.timer_id == "trial:ada"
    assert trial.activate_at - datetime.now(UTC) > MONTH - timedelta(minutes=1)
    assert mails == ["ada, your trial has ended"]


# --- with a moved clock: the real delivery loop on fakeredis, whose time freezegun sets


async def wait_for_mails(count: int) -> None:
    # The worker notices the moved clock at its next poll.
    async with asyncio.timeout(10):
        while len(mails) < count:  # noqa: ASYNC110  no event to wait for
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_trial_ends_after_thirty_days() -> None:
    # real_asyncio leaves the event loop's own clock running.
    with freeze_time("2026-01-01 12:00", real_asyncio=True) as clock:
        async with make_broker(fakeredis.FakeAsyncRedis()) as broker:
            await broker.publish("ada", topic="trials", timer_id="trial:ada", activate_in=MONTH)
            await broker.publish("bob", topic="trials", timer_id="trial:bob", activate_in=2 * MONTH)

            clock.tick(MONTH)
            await wait_for_mails(1)

            assert mails == ["ada, your trial has ended"]
            assert await broker.get_pending_timers("trials") == ["trial:bob"]
