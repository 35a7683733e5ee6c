"""The lines that a broker and its subscribers write to the log, but for those about outcomes.

Operators grep for events, so each event has its own words, which no other line has. Lines about
outcomes are in `settlement_policy` and `acknowledgement`.
"""

from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers_sync.protocol.errors import TORN_REMEDY
from faststream_redis_timers_sync.protocol.keys import show_id
from faststream_redis_timers_sync.protocol.recurrence import Repeat


def orphan(topic: str, timer_id: bytes) -> str:
    """Return the line for an entry without a payload.

    Args:
        topic: The full topic.
        timer_id: The entry's id, as it stands in the keys.
    """
    return (
        f"timer {show_id(timer_id)} of topic {topic!r} had no payload, so its entry was deleted: "
        "was it evicted? See the server's maxmemory-policy"
    )


NOT_ALLOWED = "the ACL must allow PUBSUB NUMSUB (with hash tags PUBSUB SHARDNUMSUB)"
"""Why workers can't be counted: the user lacks the right."""

NO_HASH_TAGS = "each node of a cluster counts its own subscribers, unless keys have hash tags"
"""Why workers can't be counted: they listen on several nodes."""


def not_counted(topic: str, why: str) -> str:
    """Return the line for a topic whose workers can't be counted.

    Args:
        topic: The full topic.
        why: The reason: `NOT_ALLOWED` or `NO_HASH_TAGS`.
    """
    return (
        f"workers of topic {topic!r} can't be counted, so all of them claim when a timer is due: "
        f"{why}"
    )


def not_begun(topic: str, timer_id: bytes) -> str:
    """Return the line for a claimed timer that could not be given to a handler.

    Args:
        topic: The full topic.
        timer_id: Its id, as it stands in the keys.
    """
    return (
        f"timer {show_id(timer_id)} of topic {topic!r} could not be "
        "started: it will be redelivered when its lease expires"
    )


def outlived(timer: LeasedTimer, why: str) -> str:
    """Return the line for a timer whose lease expired before its handler ended.

    Args:
        timer: The timer.
        why: See `why_outlived`.
    """
    return f"timer {timer.timer_id!r} of topic {timer.topic!r} outlived its lease and {why}"


def batch_outlived(topic: str, count: int, why: str) -> str:
    """Return the line for timers of a batch whose leases expired before its handler ended.

    Args:
        topic: The full topic.
        count: How many timers.
        why: See `why_outlived`.
    """
    return f"timers of a batch of topic {topic!r} outlived their leases ({count}), and each {why}"


def why_outlived(sub: TimerSub, *, is_gone: bool, is_renewal: bool) -> str:
    """Return what happened to a timer that outlived its lease, and the remedy.

    Args:
        sub: The subscriber's options.
        is_gone: Whether the timer no longer exists.
        is_renewal: Whether a renewal found this out, so the handler still runs.
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
    """Return the line for a timer whose lease is no longer renewed.

    Args:
        timer: The timer.
        max_lease: Seconds for which a lease is renewed.
    """
    return (
        f"handler of timer {timer.timer_id!r} of topic {timer.topic!r} exceeded max_lease "
        f"({max_lease:g} s): its lease is no longer renewed, so the timer will be redelivered. "
        "If the handler hangs, set handler_timeout="
    )


def batch_past_max_lease(topic: str, count: int, max_lease: float) -> str:
    """Return the line for a batch whose leases are no longer renewed.

    Args:
        topic: The full topic.
        count: How many of its timers have no outcome yet.
        max_lease: Seconds for which leases are renewed.
    """
    return (
        f"handler of a batch of topic {topic!r} exceeded max_lease ({max_lease:g} s): the leases "
        f"of {count} timers are no longer renewed, so they will be redelivered. If the handler "
        "hangs, set handler_timeout="
    )


def not_committed_first(topic: str, count: int) -> str:
    """Return the line for timers of a batch that could not be committed before its handler.

    Args:
        topic: The full topic.
        count: How many.
    """
    return (
        f"timers of a batch of topic {topic!r} could not be committed first ({count}), so its "
        "handler does not get them"
    )


def mark_refused(topic: str) -> str:
    """Return the line for a mark on a timer of a batch that has no effect.

    Args:
        topic: The full topic.
    """
    return (
        f"ack, nack or reject had no effect in a batch of topic {topic!r}: AckPolicy.ACK_FIRST "
        "commits timers before the handler is called"
    )


def common_cause(topic: str, count: int, reason: str) -> str:
    """Return the line for timers of a failed batch that count as failed without being tried alone.

    Args:
        topic: The full topic.
        count: How many.
        reason: The type of the error that the timers tried alone raised.
    """
    return (
        f"batch of topic {topic!r} failed for a common cause: two of its timers failed alone too "
        f"({reason}), so {count} others count as failed and are retried"
    )


def no_time_to_split(topic: str, count: int, alone: int) -> str:
    """Return the line for a failed batch that left no time to try its timers alone.

    Args:
        topic: The full topic.
        count: How many.
        alone: How many of them stay leased and will be redelivered alone.
    """
    return (
        f"batch of topic {topic!r} failed too late to try its timers alone within their leases: "
        f"{count - alone} count as failed, {alone} will be redelivered alone when their leases "
        "expire. Set a longer lease_ttl, a shorter handler_timeout or a smaller max_records"
    )


def unsettled(topic: str, count: int) -> str:
    """Return the line for timers whose outcomes did not reach the server.

    Args:
        topic: The full topic.
        count: How many timers.
    """
    return (
        f"timers of topic {topic!r} were not settled before delivery ended ({count}): they will be "
        "redelivered when their leases expire"
    )


def settled_too_late(timer: LeasedTimer) -> str:
    """Return the line for a timer that was settled after its subscriber stopped.

    Args:
        timer: The timer.
    """
    return (
        f"timer {timer.timer_id!r} of topic {timer.topic!r} was settled after its "
        "subscriber stopped: it will be redelivered when its lease expires"
    )


def batch_settled_too_late(topic: str) -> str:
    """Return the line for timers of a batch that were settled after their subscriber stopped.

    Args:
        topic: The full topic.
    """
    return (
        f"timers of a batch of topic {topic!r} were settled after their subscriber stopped: "
        "they will be redelivered when their leases expire"
    )


def hung(topic: str, count: int) -> str:
    """Return the line for handlers that did not end when they were cancelled.

    Args:
        topic: The full topic.
        count: How many.
    """
    return (
        f"handlers of topic {topic!r} did not end when they were cancelled ({count}): their timers "
        "stay leased until their leases expire"
    )


def stopped_by_handler(topic: str, timer_id: str, count: int, reason: BaseException) -> str:
    """Return the line for a topic whose delivery a handler stopped.

    Args:
        topic: The full topic.
        timer_id: The id of its timer, or of the first one of its batch.
        count: How many timers it had.
        reason: What the handler raised.
    """
    others = "" if count == 1 else f" and {count - 1} others"
    return (
        f"delivery of topic {topic!r} stopped until its subscriber is restarted: "
        f"the handler of timer {timer_id!r}{others} raised {type(reason).__name__}"
    )


def died(topic: str) -> str:
    """Return the line for a topic whose delivery died of an internal error.

    Args:
        topic: The full topic.
    """
    return (
        f"delivery of topic {topic!r} died: stop and start its subscriber, or restart the process"
    )


def slot_moving(topic: str) -> str:
    """Return the line for a topic whose slot moves to another primary.

    Args:
        topic: The full topic.
    """
    return (
        f"topic {topic!r} waits for its slot to move: the cluster is moving it key by key to "
        "another primary, and timers are late until all keys have moved"
    )


def series_created(topic: str, timer_id: str, repeat: Repeat | None) -> str:
    """Return the line for a declared series that was created.

    Args:
        topic: The full topic.
        timer_id: Its id.
        repeat: Its definition.
    """
    return f"series {timer_id!r} of topic {topic!r} was created: {repeat}"


def series_changed(topic: str, timer_id: str, repeat: Repeat | None) -> str:
    """Return the line for a declared series whose definition was changed.

    Args:
        topic: The full topic.
        timer_id: Its id.
        repeat: Its definition.
    """
    return f"series {timer_id!r} of topic {topic!r} was changed: {repeat}"


def series_undeclared(topic: str, timer_id: str, owner: str) -> str:
    """Return the line for a series that is no longer declared.

    Args:
        topic: The full topic.
        timer_id: Its id.
        owner: The `series_owner` that declared it.
    """
    return (
        f"series {timer_id!r} of topic {topic!r} is no longer declared by {owner!r} but still "
        "runs: cancel it, or prune series in the next deploy"
    )


def series_pruned(topic: str, timer_id: str, owner: str) -> str:
    """Return the line for a series that was cancelled because it is no longer declared.

    Args:
        topic: The full topic.
        timer_id: Its id.
        owner: The `series_owner` that declared it.
    """
    return f"series {timer_id!r} of topic {topic!r} was pruned: {owner!r} no longer declares it"


def series_not_ensured(reason: str) -> str:
    """Return the line for a broker that started without ensuring all declared series.

    Args:
        reason: The error.
    """
    return f"declared series were not all ensured, the next start tries again: {reason}"


def series_skipping(topic: str, timer_id: str) -> str:
    """Return the line for a series that skips occurrences.

    Args:
        topic: The full topic.
        timer_id: Its id.
    """
    return (
        f"series {timer_id!r} of topic {topic!r} skips occurrences: it is due later than its next "
        "time. If nobody rescheduled it, the server's clock was ahead: pause and resume it."
    )


def pool_full(topic: str) -> str:
    """Return the line for a call that found no free connection.

    Args:
        topic: The full topic.
    """
    return (
        f"topic {topic!r} waits for a connection: all connections of the client's pool are in use, "
        "max_connections is too low"
    )


def outage(topic: str, reason: str) -> str:
    """Return the line for the first failed call of an outage.

    Args:
        topic: The full topic.
        reason: The error.
    """
    return f"delivery of topic {topic!r} interrupted, trying again until it succeeds: {reason}"


def recovery(topic: str) -> str:
    """Return the line for the end of an outage.

    Args:
        topic: The full topic.
    """
    return f"delivery of topic {topic!r} resumed"


def torn(topic: str) -> str:
    """Return the line for a torn topic, see `TopicTornError`.

    Args:
        topic: The full topic.
    """
    return (
        f"topic {topic!r} is torn: it has timers, but all of their payloads are gone, as after "
        f"a node failed while their slot moved, so none is delivered: {TORN_REMEDY}"
    )


def dead_topic_torn(topic: str, dead_topic: str, count: int) -> str:
    """Return the line for timers that could not be dead-lettered, since that topic is torn.

    Args:
        topic: The full topic.
        dead_topic: The full dead-letter topic.
        count: How many timers.
    """
    return (
        f"dead-letter topic {dead_topic!r} is torn, so timers of topic {topic!r} were not "
        f"dead-lettered ({count}) and will be redelivered when their leases expire: {TORN_REMEDY}"
    )


def no_longer_torn(topic: str) -> str:
    """Return the line for a topic whose timers have their payloads again, or were cancelled.

    Args:
        topic: The full topic.
    """
    return f"topic {topic!r} is no longer torn"
