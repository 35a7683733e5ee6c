"""Makes dead letters as a worker does whose handlers have failed."""

from typing import Any

from front_ends import Home

from faststream_redis_timers_sync.protocol.dead_letters import Ending, write_dead_letter
from faststream_redis_timers_sync.protocol.model import Claimed, Settlement


def dead_letter_all(
    home: Home, topic: str = "invoices", dead_topic: str = "", **changes: Any
) -> list[bytes]:
    """Claim what is due, and make dead letters of it.

    Args:
        home: Where the timers are.
        topic: Their full topic.
        dead_topic: The full dead-letter topic; by default the topic's name and ``:dead``.
        changes: How their `Ending` differs from used up attempts, three, by a ValueError.

    Returns:
        The ids of the dead letters, in order.
    """
    dead_topic = dead_topic or f"{topic}:dead"
    ids = []
    while (step := home.claim(topic)).claimed:
        settlements = []
        for timer in step.claimed:
            detail = write_dead_letter(timer.payload, _ending_of(topic, timer, changes))
            settlements.append(Settlement(b"dead", timer.timer_id, step.lease, detail))
            length, _, rest = detail.partition(b":")
            ids.append(rest[: int(length)])
        operation = home.operations.settle_and_claim(
            topic, settlements, limit=0, lease_ttl=30.0, jitter=0, dead_topic=dead_topic
        )
        assert set(home.run(operation).outcomes) == {ord("1")}
    return ids


def _ending_of(topic: str, timer: Claimed, changes: dict[str, Any]) -> Ending:
    known = {
        "reason": "attempts",
        "topic": topic,
        "timer_id": timer.timer_id,
        "first_due": timer.previous_score,
        "attempts": 3,
        "error": "ValueError",
    }
    return Ending(**{**known, **changes})
