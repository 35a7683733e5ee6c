"""Schedule from blocking code, as in Django, Flask, Celery or a script.

    python -m examples.blocking_producer

Set REDIS_URL and run the worker of quickstart.py in another terminal to see them fire.
"""

from datetime import UTC, datetime, timedelta

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync import TimerPublishMessage, TimersClient

TOPIC = "example-invoices"


def main(url: str) -> None:
    # All threads of a process can share a client. It needs only redis-py.
    with TimersClient(url) as client:
        # The server's clock counts the delay, so a wrong clock here does no harm.
        client.schedule("INV-002", topic=TOPIC, activate_in=timedelta(seconds=3))

        # An absolute time needs a time zone.
        at = datetime.now(UTC) + timedelta(seconds=4)
        client.schedule("INV-003", topic=TOPIC, activate_at=at)

        # With your own id, the same reminder is never pending twice.
        for _ in range(2):
            client.schedule(
                "INV-004",
                topic=TOPIC,
                timer_id="reminder-of-INV-004",
                activate_in=timedelta(seconds=5),
            )

        # Up to 200 go in one call, each with its own options if it needs any.
        client.schedule_batch(
            [
                "INV-005",
                TimerPublishMessage("INV-006", activate_in=timedelta(seconds=7)),
            ],
            topic=TOPIC,
            activate_in=timedelta(seconds=6),
        )

        print(f"{client.count_pending(TOPIC)} timers are pending:")
        for timer in client.iter_timers(TOPIC):
            print(f"  {timer.due_at:%H:%M:%S}  {timer.decode()}  {timer.timer_id}")


if __name__ == "__main__":
    with embedded_server() as url:
        main(url)
