"""The sentences that a subscriber writes to the log about its timers."""

from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers_sync.protocol.errors import TORN_REMEDY
from faststream_redis_timers_sync.protocol.keys import show_id
from faststream_redis_timers_sync.protocol.recurrence import Repeat


def orphan(topic: str, timer_id: bytes) -> str:
    """Say that an entry had no payload.

    Args:
        topic: The full topic.
        timer_id: The entry's id, as it stands in the keys.
    """
    return (
        f"timer {show_id(timer_id)} of topic {topic!r} had no payload and was removed: "
        "was it evicted? See the server's maxmemory-policy"
    )


NOT_ALLOWED = "the ACL must allow PUBSUB NUMSUB (with hash tags PUBSUB SHARDNUMSUB)"
"""Why workers can't be counted: this user may not."""

NO_HASH_TAGS = "each node of a cluster counts its own subscribers, unless keys have hash tags"
"""Why workers can't be counted: they listen at several nodes."""


def not_counted(topic: str, why: str) -> str:
    """Say that nobody can tell how many workers there are.

    Args:
        topic: The full topic.
        why: Why not.
    """
    return (
        f"workers of topic {topic!r} can't be counted, so all of them claim when a timer is due: "
        f"{why}"
    )


def not_begun(topic: str, timer_id: bytes) -> str:
    """Say that a claimed timer could not be given to a handler.

    Args:
        topic: The full topic.
        timer_id: Its id, as it stands in the keys.
    """
    return (
        f"timer {show_id(timer_id)} of topic {topic!r} could not be "
        "begun, it is delivered again when its lease ends"
    )


def outlived(timer: LeasedTimer, why: str) -> str:
    """Say that a handler took longer than its lease, and another worker has the timer.

    Args:
        timer: The timer.
        why: See `why_outlived`.
    """
    return f"timer {timer.timer_id!r} of topic {timer.topic!r} outlived its lease and {why}"


def batch_outlived(topic: str, count: int, why: str) -> str:
    """Say that the handler of a batch took longer than leases, and others have the timers.

    Args:
        topic: The full topic.
        count: How many timers.
        why: See `why_outlived`.
    """
    return f"{count} timers of a batch of topic {topic!r} outlived their leases and each {why}"


def why_outlived(sub: TimerSub, *, is_gone: bool, is_renewal: bool) -> str:
    """Say what has become of a timer that outlived its lease, and what to do.

    Args:
        sub: The subscriber's options.
        is_gone: Whether the timer is there no more.
        is_renewal: Whether a renewal has found that out.
    """
    if is_gone:
        runs = "is gone: another worker has run it too, or it was cancelled"
    elif is_renewal:
        runs = "was claimed by another worker and is run there too"
    else:
        runs = "was claimed by another worker and run twice"
    remedy = (
        "something kept this worker from renewing it in time: a blocked event loop, a "
        "stalled machine or a lost connection"
        if sub.renew_lease
        else f"lease_ttl ({sub.lease_ttl:g} s) must be longer than the handler takes, or "
        "renew_lease=True extends it"
    )
    return f"{runs}: {remedy}"


def past_max_lease(timer: LeasedTimer, max_lease: float) -> str:
    """Say that a lease is no longer renewed.

    Args:
        timer: The timer.
        max_lease: Seconds after which it no longer is.
    """
    return (
        f"the handler of timer {timer.timer_id!r} of topic {timer.topic!r} has run "
        f"for longer than max_lease ({max_lease:g} s), so its lease is no "
        "longer renewed and the timer will be delivered again: does the handler hang? "
        "handler_timeout= ends it"
    )


def batch_past_max_lease(topic: str, count: int, max_lease: float) -> str:
    """Say that the leases of a batch are no longer renewed.

    Args:
        topic: The full topic.
        count: How many of its timers nothing was decided about.
        max_lease: Seconds after which they no longer are.
    """
    return (
        f"the handler of a batch of topic {topic!r} has run for longer than max_lease "
        f"({max_lease:g} s), so the leases of {count} timers are no longer renewed and they will "
        "be delivered again: does the handler hang? handler_timeout= ends it"
    )


def not_committed_first(topic: str, count: int) -> str:
    """Say that timers of a batch could not be committed before its handler.

    Args:
        topic: The full topic.
        count: How many.
    """
    return (
        f"{count} timers of a batch of topic {topic!r} could not be committed first, so its "
        "handler does not get them"
    )


def mark_refused(topic: str) -> str:
    """Say that a mark on a timer of a batch does nothing.

    Args:
        topic: The full topic.
    """
    return (
        f"a mark on timers of a batch of topic {topic!r} does nothing: with AckPolicy.ACK_FIRST "
        "they are committed before the handler is called"
    )


def common_cause(topic: str, count: int, reason: str) -> str:
    """Say that timers of a failed batch count as failed though they were not tried alone.

    Args:
        topic: The full topic.
        count: How many.
        reason: The kind of the error that those have raised which were tried.
    """
    return (
        f"a batch of topic {topic!r} failed, and two of its timers failed alone too ({reason}): "
        f"the cause is common, so {count} others count as failed and are retried"
    )


def no_time_to_split(topic: str, count: int, alone: int) -> str:
    """Say that a failed batch has left no time to try its timers alone.

    Args:
        topic: The full topic.
        count: How many.
        alone: How many of them stay leased, and are redelivered alone.
    """
    return (
        f"a batch of topic {topic!r} failed so late that its lease leaves no time to try timers "
        f"alone: {count - alone} count as failed, {alone} are redelivered alone when their leases "
        "end; a longer lease_ttl, a shorter handler_timeout or a smaller max_records leaves time"
    )


def unsettled(topic: str, count: int) -> str:
    """Say that the outcome of handlers has not reached the server.

    Args:
        topic: The full topic.
        count: How many timers are concerned.
    """
    return (
        f"{count} timers of topic {topic!r} could not be settled "
        "before the delivery ended. They will be delivered again when their leases end"
    )


def settled_too_late(timer: LeasedTimer) -> str:
    """Say that a timer was settled when nobody could send that any more.

    Args:
        timer: The timer.
    """
    return (
        f"timer {timer.timer_id!r} of topic {timer.topic!r} was settled after its "
        "subscriber had stopped: it will be delivered again when its lease ends"
    )


def batch_settled_too_late(topic: str) -> str:
    """Say that timers of a batch were settled when nobody could send that any more.

    Args:
        topic: The full topic.
    """
    return (
        f"timers of a batch of topic {topic!r} were settled after their subscriber had stopped: "
        "they will be delivered again when their leases end"
    )


def hung(topic: str, count: int) -> str:
    """Say that handlers did not end when they were cancelled.

    Args:
        topic: The full topic.
        count: How many.
    """
    return (
        f"{count} handlers of topic {topic!r} did not end when they were "
        "cancelled; their timers stay leased until their leases end"
    )


def ended(topic: str, timer_id: str, count: int, reason: BaseException) -> str:
    """Say that a handler has ended the delivery of its topic.

    Args:
        topic: The full topic.
        timer_id: The id of its timer, or of the first one of its batch.
        count: How many timers it had.
        reason: What it raised.
    """
    others = "" if count == 1 else f" and {count - 1} others"
    return (
        f"delivery of topic {topic!r} has ended until its subscriber is started again: "
        f"the handler of timer {timer_id!r}{others} raised {type(reason).__name__}"
    )


def died(topic: str) -> str:
    """Say that delivery has ended by an error of its own.

    Args:
        topic: The full topic.
    """
    return (
        f"the delivery of topic {topic!r} has died: stop and start its subscriber, or restart "
        "the process"
    )


def slot_moving(topic: str) -> str:
    """Say that a slot of a cluster is on its way.

    Args:
        topic: The full topic.
    """
    return (
        f"topic {topic!r} waits for its slot to move: the cluster moves it key by key to another "
        "primary, and its timers are late until it is there"
    )


def series_created(topic: str, timer_id: str, repeat: Repeat | None) -> str:
    """Say that a declared series was not there.

    Args:
        topic: The full topic.
        timer_id: Its id.
        repeat: Its definition.
    """
    return f"series {timer_id!r} of topic {topic!r} was created: {repeat}"


def series_changed(topic: str, timer_id: str, repeat: Repeat | None) -> str:
    """Say that a declared series had another definition, or none.

    Args:
        topic: The full topic.
        timer_id: Its id.
        repeat: Its definition.
    """
    return f"series {timer_id!r} of topic {topic!r} was changed: {repeat}"


def series_removed(topic: str, timer_id: str, owner: str) -> str:
    """Say that a series is declared no longer.

    Args:
        topic: The full topic.
        timer_id: Its id.
        owner: Who has declared it.
    """
    return (
        f"series {timer_id!r} of topic {topic!r} is no longer declared by {owner!r}, and goes on: "
        "cancel it, or prune series in the next deploy"
    )


def series_pruned(topic: str, timer_id: str, owner: str) -> str:
    """Say that a series that is declared no longer was cancelled.

    Args:
        topic: The full topic.
        timer_id: Its id.
        owner: Who has declared it.
    """
    return f"series {timer_id!r} of topic {topic!r} was pruned: {owner!r} no longer declares it"


def series_not_ensured(reason: str) -> str:
    """Say that a broker has started, and its declared series are not all as declared.

    Args:
        reason: The error.
    """
    return f"declared series were not all ensured, the next start tries again: {reason}"


def series_skipping(topic: str, timer_id: str) -> str:
    """Say that a series leaves out times.

    Args:
        topic: The full topic.
        timer_id: Its id.
    """
    return (
        f"series {timer_id!r} of topic {topic!r} skips occurrences: it is due later than its next "
        "time. If nobody rescheduled it, the server's clock was ahead: pause and resume it."
    )


def pool_full(topic: str) -> str:
    """Say that there was no free connection.

    Args:
        topic: The full topic.
    """
    return (
        f"topic {topic!r} waits for a connection: all of the client's pool are "
        "in use, max_connections is too low"
    )


def outage(topic: str, reason: str) -> str:
    """Say that calls fail.

    Args:
        topic: The full topic.
        reason: The error.
    """
    return f"topic {topic!r} can't be delivered, trying again until it can: {reason}"


def recovery(topic: str) -> str:
    """Say that calls are answered again.

    Args:
        topic: The full topic.
    """
    return f"topic {topic!r} is delivered again"


def torn(topic: str) -> str:
    """Say that none of the topic's timers can be delivered: see `TopicTornError`.

    Args:
        topic: The full topic.
    """
    return (
        f"topic {topic!r} is torn: it has timers, and all of their payloads are gone, as after a "
        f"node failed while their slot moved, so none is delivered: {TORN_REMEDY}"
    )


def whole_again(topic: str) -> str:
    """Say that the topic's timers and payloads are together again, or both gone.

    Args:
        topic: The full topic.
    """
    return f"topic {topic!r} is no longer torn"
