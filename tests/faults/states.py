"""What becomes of timers under faults: whether each arrived, and how often."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pytest
from bench import INTERRUPTED, RESUMED, Bench, Calls
from waiting import wait_until_async

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers_sync import TimerPublishMessage


@dataclass(frozen=True)
class Balance:
    """What became of the timers of a test.

    Args:
        tried: How often the fault happened.
        scheduled: How many timers were accepted.
        delivered: How many of them were handled.
        again: How many deliveries there were beyond the first of each.
    """

    tried: int
    scheduled: int
    delivered: int
    again: int

    @property
    def lost(self) -> int:
        """How many were accepted and never handled."""
        return self.scheduled - self.delivered

    def report(self, request: pytest.FixtureRequest, fault: str, **more: Any) -> None:
        """Write it into the report of the test.

        Args:
            request: The test's.
            fault: What was done.
            more: What else was measured, with its unit in its name.
        """
        facts = {"fault": fault, **asdict(self), "lost": self.lost, **more}
        request.node.user_properties.append(("fault", facts))


def balance(calls: Calls, ids: Iterable[str], tried: int) -> Balance:
    """Compare what was scheduled with what handlers noted.

    Args:
        calls: What the handlers noted.
        ids: The ids of the timers that were accepted.
        tried: How often the fault happened.
    """
    ids = list(ids)
    counts = [calls.counts[timer_id] for timer_id in ids]
    return Balance(tried, len(ids), sum(map(bool, counts)), sum(max(0, n - 1) for n in counts))


def numbers(count: int, first: int = 0) -> list[str]:
    """Give ids for that many timers."""
    return [f"{n}" for n in range(first, first + count)]


def schedule_all(bench: Bench, ids: Iterable[str], topic: str | None = None) -> None:
    """Schedule timers that are due now."""
    messages = [TimerPublishMessage("x", timer_id=timer_id) for timer_id in ids]
    bench.client.schedule_batch(messages, topic or bench.topic)


def noting(
    bench: Bench,
    calls: Calls,
    client: object = None,
    *,
    graceful_timeout: float = 2.0,
    **options: object,
) -> TimersBroker:
    """Make a broker whose handler notes its calls, and waits while their gate is shut."""
    broker = bench.broker(client, graceful_timeout=graceful_timeout)

    @broker.subscriber(bench.topic, **options)
    async def handle(message: TimerMessage) -> None:
        await calls.hold(message)

    return broker


def recoveries(bench: Bench) -> list[str]:
    """Give the lines that tell of a recovery."""
    return [line for line in bench.log.lines if RESUMED in line]


def outages(bench: Bench) -> list[str]:
    """Give the lines that tell of an outage."""
    return [line for line in bench.log.complaints if INTERRUPTED in line]


async def until_away(bench: Bench, count: int = 1) -> None:
    """Wait until that many outages have been told."""
    await wait_until_async(lambda: len(outages(bench)) >= count)


async def until_back(bench: Bench, count: int = 1, timeout: float = 10.0) -> None:
    """Wait until that many recoveries have been told."""
    await wait_until_async(lambda: len(recoveries(bench)) >= count, timeout)
