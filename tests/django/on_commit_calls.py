"""What the tests of calls on commit share."""

from datetime import timedelta

from faststream_redis_timers_sync.django import schedule_on_commit

HOUR = timedelta(hours=1)


class RollBack(Exception):  # noqa: N818  not an error
    """Rolls a block back."""


def schedule(timer_id, message="first", **options):
    return schedule_on_commit(
        message, "invoices", timer_id=timer_id, **{"activate_in": HOUR, **options}
    )


def pending(client):
    return {timer.timer_id: timer.decode() for timer in client.iter_timers("invoices")}
