"""What tests read of the inside of workers, all of it here, where no name outside tells.

A test that can ask from outside (keys, log, messages, commands) does that.
"""

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.clock import monotonic
from faststream_redis_timers.tasks import end_task


def loop_of(subscriber):
    """Give the delivery loop of a subscriber; None where it has none."""
    return subscriber._loop


def loops_of(broker: TimersBroker):
    """Give the delivery loops of a broker's subscribers."""
    return [loop_of(subscriber) for subscriber in broker.subscribers]


def is_delivering(subscriber) -> bool:
    """Return whether the delivery loop of a subscriber is at work."""
    loop = loop_of(subscriber)
    return loop is not None and loop.alive


def leases_of(subscriber) -> int:
    """Count the leases of a subscriber."""
    return len(loop_of(subscriber).core._leases)


async def kill_loop(subscriber) -> None:
    """End a delivery loop as an error of its own would."""
    await end_task(loop_of(subscriber)._task)


def schedule_of(loop):
    """Give the arithmetic of when a loop claims next."""
    return loop.core._agenda._schedule


def sleeps_for(loop, seconds: float) -> bool:
    """Return whether a loop sleeps, and claims nothing for some seconds."""
    waiter = loop.sleeper._waiter
    if waiter is None or waiter.done():
        return False
    return schedule_of(loop).next_at >= monotonic() + seconds


def is_polling(loop) -> bool:
    """Return whether a loop is about to claim, or waits for the reply to a claim."""
    return loop.core._agenda._poll_asked or loop._claiming


def free_slots(loop) -> int:
    """Give how many handlers more a loop would begin."""
    return loop.core._slots.free


def holds_nothing(loop) -> bool:
    """Return whether a loop has let go of all timers."""
    return not loop.core._leases


def unsettled(delivery) -> int:
    """Give how many settlements wait to be sent by the loop that has claimed a timer."""
    return len(delivery.claim.holder.core._outbox)


def channels_wanted(broker: TimersBroker) -> int:
    """Give how many channels the subscribers of a broker listen to, or want to."""
    return len(broker.config.connection.wake_ups._loops)


def waiting_loops(broker: TimersBroker):
    """Give the delivery loops for which wake-ups are read."""
    return broker.config.connection.wake_ups._waiting


def polls_planned(broker: TimersBroker) -> int:
    """Give for how many loops a poll is planned, since their slots are on their way."""
    return len(broker.config.connection.wake_ups._polls)


def is_listening(broker: TimersBroker) -> bool:
    """Return whether the connection for wake-ups stands."""
    return broker.config.connection.wake_ups.are_heard


def post_of(loop):
    """Give the post of a loop: whether it is on duty, in reserve or away."""
    return loop.core.attendance.post


def most_unread(broker: TimersBroker) -> int:
    """Count the commands whose answers were not read yet, of the connection for wake-ups."""
    (subscriber, *_) = broker.subscribers
    listeners = loop_of(subscriber)._wake_ups._listeners._listeners.values()
    return max((len(listener._asked) for listener in listeners), default=0)
