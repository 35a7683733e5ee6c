"""Settles a timer when its handler has ended.

FastStream's own acknowledgement middleware drops a timer on `StopConsume` under
two policies, runs the handler after a refused ACK_FIRST, and settles nothing on
`SkipMessage`. So this replaces it, around all middlewares.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from faststream import AckPolicy
from faststream.exceptions import (
    AckMessage,
    NackMessage,
    RejectMessage,
    SkipMessage,
    StopConsume,
    SubscriberNotFound,
)
from faststream.response import Response, ensure_response

from faststream_redis_timers.delivered import TimerDelivery
from faststream_redis_timers.delivery.leased import Unit
from faststream_redis_timers.subscriber.loop import DeliveryLoop
from faststream_redis_timers.subscriber.starting import LeaseEndedError, expect_start
from faststream_redis_timers.tasks import count_cancellations, is_cancelled_for_stop


async def handle_and_settle(
    delivery: TimerDelivery,
    policy: AckPolicy,
    handle: Callable[[TimerDelivery], Awaitable[Response]],
    *,
    on_stop: Callable[[TimerDelivery, BaseException], None],
    log: Callable[[int, str], None],
) -> Response:
    """Run a handler and settle its timer, unless the handler has settled it.

    Nothing waits for the reply: the delivery loop sends the settlement, even while it
    stops. If the loop cancels the handler, it also releases the timer.

    Args:
        delivery: The timer.
        policy: What happens to the timer if the handler raises.
        handle: Parses the message and runs the handler and its middlewares.
        on_stop: Called with the timer and the exception that its handler raised to stop the
            subscriber or the process.
        log: Writes a line with a `logging` level to the broker's log.

    Returns:
        The handler's response.

    Raises:
        BaseException: The handler's exception, except the instructions
            `AckMessage`, `NackMessage`, `RejectMessage` and `SkipMessage`.
    """
    cancelled_before = count_cancellations()
    if policy is AckPolicy.ACK_FIRST and not await delivery.commit():
        log(
            logging.WARNING,
            f"timer {delivery.timer_id!r} of topic {delivery.topic!r} could not be committed "
            "first, so its handler is not called",
        )
        return ensure_response(None)
    # A timer that is committed first can't be claimed again, however late its handler starts.
    expect_start(None if policy is AckPolicy.ACK_FIRST else delivery)
    try:
        response = await handle(delivery)
    except (AckMessage, SkipMessage):
        delivery.free_slot()
        delivery.commit_soon()
    except RejectMessage as instruction:
        delivery.free_slot()
        delivery.reject_soon(instruction)
    except NackMessage as instruction:
        delivery.free_slot()
        nack_as_told([delivery], instruction, log)
    except (StopConsume, SystemExit, KeyboardInterrupt) as reason:
        # Stop claiming first, or this worker would claim the timer again at once.
        on_stop(delivery, reason)
        delivery.release()
        raise
    except GeneratorExit:
        # Its event loop has gone: nothing can be sent.
        raise
    except BaseException as error:
        # Not only an Exception: extensions in Rust, for example, raise a PanicException.
        _settle_failure(delivery, policy, error, cancelled_before)
        raise
    else:
        delivery.free_slot()
        if policy is not AckPolicy.MANUAL:
            delivery.commit_soon()
        return response
    finally:
        # A handler may not have begun, or only in a thread with a context of its own. A test calls
        # handlers as functions in the same task later.
        expect_start(None)
    return ensure_response(None)


def is_interrupted(error: BaseException, unit: Unit, cancelled_before: int) -> bool:
    """Return whether a handler was cancelled, so that its timers have no outcome.

    If something that it awaited was cancelled, that is a failure like any other.

    Args:
        error: The exception that it raised, in the task that runs it.
        unit: Its timer, or its batch.
        cancelled_before: What `count_cancellations` returned before.
    """
    task = asyncio.current_task()
    is_stopped = task is not None and is_cancelled_for_stop(task)
    if isinstance(error, asyncio.CancelledError):
        # Not only a stop cancels: `asyncio.run` does when it ends, and a timeout around a test.
        return is_stopped or count_cancellations() > cancelled_before
    # At a stop, what cleans up may raise another exception instead, as a task group does whose
    # tasks fail when they are cancelled.
    holder = unit.deliveries[0].claim.holder
    return is_stopped and isinstance(holder, DeliveryLoop) and holder.core.is_stopping


def _settle_failure(
    delivery: TimerDelivery, policy: AckPolicy, error: BaseException, cancelled_before: int
) -> None:
    if is_interrupted(error, delivery, cancelled_before):
        return
    delivery.free_slot()
    if isinstance(error, LeaseEndedError):
        # The handler has not started, and this worker no longer has the lease.
        return
    # No policy drops a message that no filter accepts: a newer worker may handle it.
    if policy is AckPolicy.NACK_ON_ERROR or isinstance(error, SubscriberNotFound):
        delivery.nack_soon(error)
    elif policy is AckPolicy.REJECT_ON_ERROR:
        delivery.reject_soon(error)
    elif policy is AckPolicy.ACK:
        delivery.commit_soon()


def nack_as_told(
    timers: Sequence[TimerDelivery], instruction: NackMessage, log: Callable[[int, str], None]
) -> None:
    """Fail the attempts of timers, as their handler says.

    Args:
        timers: The timers.
        instruction: The exception that the handler raised.
        log: Writes a line with a `logging` level to the broker's log.
    """
    options = instruction.extra_options
    for timer in timers:
        try:
            timer.nack_soon(instruction, **options)
        except (TypeError, ValueError) as error:
            others = "" if len(timers) == 1 else f" and {len(timers) - 1} others"
            log(
                logging.ERROR,
                f"invalid NackMessage for timer {timer.timer_id!r}{others} of topic "
                f"{timer.topic!r}, handled as one without a delay: {error}",
            )
            options = {}
            timer.nack_soon(instruction)
