"""Middlewares around handlers and publishers, and what errors that they handle mean for a timer."""

from datetime import UTC, datetime, timedelta

import pytest
from faststream import BaseMiddleware, ExceptionMiddleware
from faststream.exceptions import SkipMessage
from waiting import wait_until_async

from faststream_redis_timers import TimersRouter
from faststream_redis_timers.annotations import TimerMessage


def noting(inbox, name):
    """Make a middleware that notes each of its turns."""

    class Noting(BaseMiddleware):
        async def on_receive(self):
            inbox.put(f"{name} receives {self.msg.timer_id}")

        async def consume_scope(self, call_next, msg):
            inbox.put(f"{name} before {await msg.decode()}")
            try:
                return await call_next(msg)
            finally:
                inbox.put(f"{name} after")

        async def after_processed(self, exc_type=None, exc_val=None, exc_tb=None):
            inbox.put(f"{name} is left with {exc_type and exc_type.__name__}")
            return False

    return Noting


async def is_gone_after_all(broker):
    """Wait until the timer "42" is settled; return whether it is gone, and waits for no retry."""

    async def is_settled():
        timer = await broker.get_timer("in", "42")
        soon = datetime.now(UTC) + timedelta(seconds=10)
        return timer is None or (not timer.running and timer.due_at > soon)

    await wait_until_async(is_settled)
    return not await broker.has_pending("in", "42")


async def test_they_are_entered_from_the_outside_and_left_from_the_inside(make_broker, inbox):
    broker = make_broker(middlewares=[noting(inbox, "outer"), noting(inbox, "inner")])

    @broker.subscriber("in")
    async def handle(body: str) -> None:
        inbox.put("handler")

    async with broker:
        await broker.publish("x", "in", timer_id="42")
        notes = [await inbox.get() for _ in range(9)]

    assert notes == [
        "outer receives 42",
        "inner receives 42",
        "outer before x",
        "inner before x",
        "handler",
        "inner after",
        "outer after",
        "inner is left with None",
        "outer is left with None",
    ]


async def test_those_that_come_late_hold_for_subscribers_from_before(make_broker, inbox):
    broker = make_broker(logger=None, middlewares=[noting(inbox, "given")])
    router = TimersRouter()
    broker.include_router(router)

    @router.subscriber("in")
    async def handle(body: str) -> None:
        inbox.put("handler")

    broker.add_middleware(noting(inbox, "added"))
    broker.insert_middleware(noting(inbox, "inserted"))
    async with broker:
        await broker.publish("x", "in", timer_id="42")
        notes = [await inbox.get() for _ in range(3)]

    assert notes == ["inserted receives 42", "given receives 42", "added receives 42"]


async def test_they_see_the_error_of_a_handler_which_is_retried_all_the_same(make_broker, inbox):
    broker = make_broker(logger=None, middlewares=[noting(inbox, "it")])

    @broker.subscriber("in")
    async def handle(body: str) -> None:
        raise ZeroDivisionError

    async with broker:
        await broker.publish("x", "in", timer_id="42")
        notes = [await inbox.get() for _ in range(4)]
        assert await is_gone_after_all(broker) is False

    assert notes[2:] == ["it after", "it is left with ZeroDivisionError"]


async def test_they_may_change_what_is_published_and_what_is_replied(make_broker, inbox):
    class Doubling(BaseMiddleware):
        async def publish_scope(self, call_next, cmd):
            cmd.body *= 2
            return await call_next(cmd)

    broker = make_broker(middlewares=[Doubling])

    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> str:
        return body

    @broker.subscriber("out")
    @broker.subscriber("replies")
    async def collect(body: str, message: TimerMessage) -> None:
        inbox.put((message.topic, body))

    async with broker:
        await broker.publish("x", "in", reply_to="replies")

        assert {await inbox.get(), await inbox.get()} == {("out", "xxxx"), ("replies", "xxxx")}


async def test_one_that_does_not_go_on_stands_for_the_handler(make_broker, inbox):
    class Answering(BaseMiddleware):
        async def consume_scope(self, call_next, msg):
            return "from the middleware"

    broker = make_broker(middlewares=[Answering])

    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> str:
        raise ZeroDivisionError

    async with broker:
        await broker.publish("x", "in", timer_id="42")
        assert await is_gone_after_all(broker) is True
        (timer,) = [timer async for timer in broker.iter_timers("out")]

    assert timer.decode() == "from the middleware"


# --- handlers of exceptions --------------------------------------------------------------


@pytest.fixture
def handling():
    """A middleware that knows what to do about some errors."""
    handling = ExceptionMiddleware()

    @handling.add_handler(ZeroDivisionError)
    async def swallow(error: ZeroDivisionError) -> None:
        pass

    @handling.add_handler(LookupError, publish=True)
    async def answer(error: LookupError) -> str:
        return f"instead of {type(error).__name__}"

    @handling.add_handler(OSError)
    async def raise_another(error: OSError) -> None:
        raise ArithmeticError

    return handling


@pytest.mark.parametrize(
    ("raised", "is_gone", "published"),
    [
        # Who handles an error has dealt with its timer.
        (ZeroDivisionError, True, []),
        (KeyError, True, ["instead of KeyError"]),
        (OSError, False, []),
        (ValueError, False, []),
        (SkipMessage, True, []),
    ],
)
async def test_an_error_that_is_handled_is_none(make_broker, handling, raised, is_gone, published):
    broker = make_broker(logger=None, middlewares=[handling])

    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> str:
        raise raised

    async with broker:
        await broker.publish("x", "in", timer_id="42")

        assert await is_gone_after_all(broker) is is_gone
        assert [timer.decode() async for timer in broker.iter_timers("out")] == published


async def test_an_error_of_a_decoder_can_be_handled_too(make_broker, handling):
    def decode(message):
        raise ZeroDivisionError

    broker = make_broker(logger=None, middlewares=[handling])

    @broker.subscriber("in", decoder=decode)
    async def handle(body: str) -> None:
        pass

    async with broker:
        await broker.publish("x", "in", timer_id="42")

        assert await is_gone_after_all(broker) is True
