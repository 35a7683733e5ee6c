"""Handlers longer than their lease: renewals, and what ends them."""

import asyncio
import logging
import time
from contextlib import suppress

import pytest
from bench import BLOCKING, delivering, fail_in_a_task_group
from faststream import AckPolicy
from faststream.exceptions import SetupError
from inside import free_slots, holds_nothing, loops_of, unsettled
from waiting import wait_until_async

from faststream_redis_timers import RetryPolicy, TimersRouter
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.subscriber import timeouts
from faststream_redis_timers_sync.protocol.envelope import EnvelopeReader
from faststream_redis_timers_sync.protocol.model import Settlement
from faststream_redis_timers_sync.protocol.times import is_lease, lease_text

SHORT = 0.3
"""Seconds of a lease that is to end within a test."""


def holding(bench, calls, url=None, **options):
    """Subscribe a handler that waits at the gate."""
    broker = bench.broker(url)

    @broker.subscriber(bench.topic, **{"lease_ttl": SHORT, "polling_interval": 0.02, **options})
    async def handle(message: TimerMessage):
        await calls.hold(message)

    return broker


def steal(bench, timer_id, lease_ttl=60):
    """Claim a timer as another worker does after its lease has ended."""
    bench.redis.zadd(bench.timeline, {timer_id: 1.0})
    step = bench.home.claim(bench.topic, lease_ttl=lease_ttl)
    assert [one.timer_id for one in step.claimed] == [timer_id.encode()]
    return float(step.lease)


async def test_a_renewed_lease_does_not_end_before_its_handler(bench, calls):
    one = holding(bench, calls, renew_lease=True, max_concurrent=1)
    other = holding(bench, calls)
    bench.schedule("1")
    async with delivering(one):
        await calls.until(1)
        async with delivering(other):
            first = bench.score("1")
            await wait_until_async(lambda: bench.score("1") > first + 3 * SHORT)
            assert is_lease(bench.score("1"))
            assert not calls.messages[0].lease_lost
            calls.gate.set()
            await bench.until_gone("1")

    assert calls.ids == ["1"]
    assert bench.log.complaints == []


async def test_the_leases_of_all_handlers_are_renewed_in_one_call(bench, relay, calls):
    broker = holding(
        bench, calls, relay.url, renew_lease=True, lease_ttl=1.5, max_concurrent=50,
        max_polling_interval=3600.0, polling_interval=3600.0,
    )  # fmt: skip
    for n in range(50):
        bench.schedule(f"{n}")
    async with delivering(broker):
        await calls.until(50)
        leases = {bench.score(f"{n}") for n in range(50)}
        before = relay.count("EVALSHA")
        await wait_until_async(lambda: all(bench.score(f"{n}") not in leases for n in range(50)))
        # At most one call is under way by now.
        assert relay.count("EVALSHA") - before in {1, 2}
        calls.gate.set()
        await wait_until_async(lambda: bench.client.count_pending(bench.topic) == 0)

    assert len(calls.ids) == 50


async def test_a_lease_that_is_not_renewed_by_itself_can_be_renewed_by_hand(bench, open_calls):
    broker = bench.broker()
    answers = []

    @broker.subscriber(bench.topic, lease_ttl=20)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        before = bench.score("1")
        answers.append(await message.renew())
        usual = bench.score("1")
        answers.append(await message.renew(60))
        longer = bench.score("1")
        # It lasts longer anyhow: no score is ever lowered.
        answers.append(await message.renew(1))
        # A lease lasts up to 10 ms longer than asked, so right after a claim this may be none.
        is_right = before <= usual < before + 15 < longer == bench.score("1")
        answers.append((is_right, longer))
        assert not message.lease_lost
        await message.ack()
        answers.append(await message.renew())

    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")
        await wait_until_async(lambda: len(answers) == 5)

    assert answers[:3] == [True, True, True]
    assert answers[3][0]
    assert is_lease(answers[3][1])
    # What is settled is no longer this worker's.
    assert answers[4] is False
    assert bench.log.complaints == []


async def test_a_renewal_that_would_extend_nothing_still_says_who_owns_the_timer(bench, open_calls):
    broker = bench.broker()
    answers = []

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        answers.append(await message.renew(60))
        bench.client.cancel_timer(bench.topic, "1")
        answers.append(await message.renew(1))
        open_calls.note(message)

    bench.schedule("1")
    async with delivering(broker):
        await open_calls.until(1)

    assert answers == [True, False]


async def test_renewals_that_travel_together_leave_the_longest(bench, open_calls):
    broker = bench.broker()
    seen = []

    @broker.subscriber(bench.topic, lease_ttl=20)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        lasts_until = bench.home.now().timestamp() + 59
        seen.append(await asyncio.gather(message.renew(60), message.renew(40)))
        seen.append(bench.score("1") >= lasts_until)

    bench.schedule("1")
    async with delivering(broker):
        # Else the handler would not know the lease that its timer has.
        await bench.until_gone("1")

    assert seen == [[True, True], True]
    assert open_calls.ids == ["1"]
    assert bench.log.complaints == []


@pytest.mark.parametrize(("lease_ttl", "error"), [("5", TypeError), (0, ValueError)])
async def test_a_renewal_of_no_time_is_refused(bench, open_calls, lease_ttl, error):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        with pytest.raises(error, match="lease_ttl must be"):
            await message.renew(lease_ttl)

    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert bench.log.complaints == []


@pytest.mark.parametrize("renews", [True, False])
async def test_a_lease_that_is_lost_is_told_once(bench, calls, renews):
    broker = holding(bench, calls, renew_lease=renews)
    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        (message,) = calls.messages
        # A stalled event loop: nobody renews, and another worker claims the timer.
        time.sleep(2 * SHORT)  # noqa: ASYNC251
        stolen = steal(bench, "1")
        assert message.lease_lost
        if renews:
            await wait_until_async(lambda: bench.log.at(logging.WARNING))
        calls.gate.set()
        await wait_until_async(lambda: bench.log.at(logging.WARNING))
        await wait_until_async(lambda: holds_nothing(*loops_of(broker)))
        assert bench.score("1") == stolen
        assert message.lease_lost
    bench.client.cancel_all(bench.topic)

    (line,) = bench.log.complaints
    assert "timer '1' of topic 'invoices' outlived its lease" in line
    remedy = "a blocked event loop" if renews else "lease_ttl (0.3 s) must be longer"
    assert remedy in line


async def test_a_lease_that_was_lost_to_a_worker_that_has_finished_is_told_too(bench, calls):
    broker = holding(bench, calls)
    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        time.sleep(2 * SHORT)  # noqa: ASYNC251
        stolen = steal(bench, "1")
        step = bench.home.step(bench.topic, Settlement(b"commit", b"1", b"%.7f" % stolen))
        assert step.outcomes == b"1"
        calls.gate.set()
        await wait_until_async(lambda: bench.log.at(logging.WARNING))

    (line,) = bench.log.complaints
    assert "outlived its lease and is gone: another worker has run it too, or it was" in line


async def test_an_error_that_should_not_be_ends_no_delivery(bench, open_calls, monkeypatch):
    def fail_once(self, payload):
        monkeypatch.undo()
        raise ZeroDivisionError

    broker = holding(bench, open_calls)
    monkeypatch.setattr(EnvelopeReader, "read", fail_once)
    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert open_calls.ids == ["1"]
    assert "timer '1' of topic 'invoices' could not be started" in bench.log.complaints[0]


@pytest.mark.parametrize("how", ["cancel", "reschedule"])
async def test_who_cancels_or_moves_a_timer_ends_its_lease_and_that_is_no_complaint(
    bench, calls, how
):
    broker = holding(bench, calls, renew_lease=True)
    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        if how == "cancel":
            bench.client.cancel_timer(bench.topic, "1")
        else:
            bench.client.reschedule_timer(
                bench.topic, "1", activate_at=bench.home.now().replace(year=2090)
            )
        await wait_until_async(lambda: calls.messages[0].lease_lost)
        assert not await calls.messages[0].renew()
        calls.gate.set()
    bench.client.cancel_all(bench.topic)

    assert bench.log.complaints == []


async def test_a_renewal_whose_reply_is_lost_does_not_lose_the_lease(bench, relay, calls):
    """The worker does not know then which lease the timer has, and names both."""
    broker = holding(bench, calls, relay.url, lease_ttl=30)
    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        await wait_until_async(lambda: relay.count("SUBSCRIBE"))
        (message,) = calls.messages
        before = bench.score("1")
        relay.lose_reply()
        assert await message.renew(90)
        assert bench.score("1") > before + 30
        # This one is refused altogether, and the commit comes before its repetition.
        relay.refuse()
        renewal = asyncio.create_task(message.renew(120))
        await asyncio.sleep(0)
        calls.gate.set()
        await asyncio.sleep(0.05)
        relay.accept()
        await bench.until_gone("1")
        await renewal

    assert calls.ids == ["1"]
    assert not any("outlived" in line for line in bench.log.complaints)


async def test_renewals_do_not_pile_up_while_the_server_is_away(bench, relay, calls):
    broker = holding(bench, calls, relay.url, renew_lease=True)
    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        delivery = calls.messages[0].raw_message
        relay.refuse()
        first = float(delivery.leases[-1])
        await wait_until_async(lambda: float(delivery.leases[-1]) > first + 5 * SHORT)
        # That of its claim, one that may have arrived, and the latest.
        assert len(delivery.leases) <= 4
        assert unsettled(delivery) <= 1
        relay.accept()
        # The latest is what is asked for: an old one would have ended by now.
        await wait_until_async(lambda: bench.score("1") > first + 5 * SHORT)
        calls.gate.set()
        await bench.until_gone("1")

    assert calls.ids == ["1"]


async def test_a_shorter_renewal_after_one_that_never_arrived_is_known(bench, relay, calls):
    """The server accepts it, since it has not seen the longer one, and the commit must name it."""
    broker = holding(bench, calls, relay.url, lease_ttl=30)
    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        (message,) = calls.messages
        delivery = message.raw_message
        # As after a request that was lost on its way.
        delivery.leases += (lease_text(bench.home.now().timestamp() + 3600, 0),)
        assert await message.renew(60)
        assert bench.score("1") < bench.home.now().timestamp() + 70
        calls.gate.set()
        await bench.until_gone("1")

    assert bench.log.complaints == []


async def test_a_handler_that_hangs_does_not_keep_its_timer_leased_forever(bench, calls):
    broker = holding(bench, calls, renew_lease=True, max_lease=2 * SHORT)
    bench.schedule("1")
    async with delivering(broker):
        # The same worker redelivers it, beside the handler that hangs.
        await calls.until(2)
        calls.gate.set()
        await bench.until_gone("1")

    assert calls.ids == ["1", "1"]
    assert calls.messages[1].redelivered
    line = bench.log.at(logging.ERROR)[0]
    assert line.startswith("handler of timer '1' of topic 'invoices' exceeded max_lease (0.6 s): ")


async def test_after_a_handler_that_hung_its_slot_is_free_again(bench, calls):
    broker = holding(bench, calls, renew_lease=True, max_lease=SHORT, max_concurrent=2)
    bench.schedule("1")
    async with delivering(broker):
        await calls.until(2)
        calls.gate.set()
        await bench.until_gone("1")
        await wait_until_async(lambda: free_slots(*loops_of(broker)) == 2)


@pytest.mark.parametrize("policy", [None, RetryPolicy(max_attempts=2)])
async def test_a_handler_that_takes_too_long_is_cancelled_and_has_failed(bench, calls, policy):
    broker = holding(
        bench,
        calls,
        handler_timeout=0.05,
        lease_ttl=30,
        retry_policy=policy,
        dead_letter_topic="dead",
    )
    bench.schedule("1")
    async with delivering(broker):
        await wait_until_async(lambda: calls.ids and not bench.is_leased("1"))
        assert calls.running == 0
        delay = bench.score("1") - bench.home.now().timestamp()
        # When its lease would have ended, or as the policy says.
        assert (5 < delay < 12) if policy else (20 < delay < 31)
    bench.client.cancel_all(bench.topic)

    assert bench.log.complaints == [
        "TimeoutError: the handler took longer than handler_timeout (0.05 s)"
    ]


async def test_a_handler_that_swallows_its_cancellation_is_cancelled_again(
    bench, open_calls, monkeypatch
):
    monkeypatch.setattr(timeouts, "CANCELLED_AGAIN", 0.05)
    broker = bench.broker()

    @broker.subscriber(bench.topic, handler_timeout=0.05, ack_policy=AckPolicy.REJECT_ON_ERROR)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        for _ in range(2):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await asyncio.Event().wait()

    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert open_calls.ids == ["1"]
    assert any("handler_timeout (0.05 s)" in line for line in bench.log.complaints)


async def test_a_handler_times_out_after_a_task_group_that_failed(bench, open_calls):
    """Up to Python 3.12, such a group leaves its task counted as cancelled."""
    broker = bench.broker()

    @broker.subscriber(bench.topic, handler_timeout=0.05, ack_policy=AckPolicy.REJECT_ON_ERROR)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        await fail_in_a_task_group()
        await asyncio.Event().wait()

    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert open_calls.ids == ["1"]
    assert any("handler_timeout (0.05 s)" in line for line in bench.log.complaints)


async def test_a_handler_that_is_cancelled_by_a_stop_has_not_timed_out(bench, calls):
    broker = holding(bench, calls, handler_timeout=30)
    broker.config.broker_config.graceful_timeout = 0.01
    bench.schedule("1")
    due = bench.score("1")
    async with delivering(broker):
        await calls.until(1)
    assert bench.score("1") == due
    bench.client.cancel_all(bench.topic)

    assert not any("handler_timeout" in line for line in bench.log.complaints)


@pytest.mark.parametrize("make", BLOCKING.values(), ids=BLOCKING)
async def test_a_timeout_of_a_blocking_handler_is_refused(bench, make):
    broker = bench.broker()
    broker.subscriber(bench.topic, handler_timeout=1)(make(print))

    with pytest.raises(SetupError, match="handler_timeout of topic 'invoices' needs asynchronous"):
        await broker.start()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"renew_lease": 1}, TypeError, "renew_lease must be True or False, got 1"),
        ({"max_lease": 0}, ValueError, "max_lease must be from 0.001 s"),
        (
            {"renew_lease": True, "max_lease": 10},
            ValueError,
            "max_lease must be at least lease_ttl .30.0. with renew_lease=True, got 10",
        ),
        ({"handler_timeout": "1"}, TypeError, "handler_timeout must be a number of seconds"),
    ],
)
def test_options_that_can_not_work_are_refused(bench, options, error, message):
    for registrar in (bench.broker(), TimersRouter()):
        with pytest.raises(error, match=message):
            registrar.subscriber("x", **options)
