"""How long a call of a forecast keeps the server busy where each topic holds a million timers."""

import random
import statistics
import time
from datetime import UTC, datetime, timedelta

from benchmarks.commands import Meter, table_of_calls
from benchmarks.measured import Run
from benchmarks.page import Limit, Table
from faststream_redis_timers_sync.manage.forecast import Range, edges_of
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.management import (
    MOST_EDGES,
    MOST_FORECAST,
    forecast,
)

_MOST_MS = 0.5
"""Milliseconds that a call may keep the server busy."""

_CALLS = 1000
_AT_ONCE = 20_000


def check_forecast(run: Run) -> tuple[list[Limit], Table | None]:
    """A call of a forecast keeps the server busy for half a millisecond at most.

    Its topics have their timelines alone, since it reads nothing else.
    """
    count = run.sized(1_000_000)
    keys = KeySpace()
    topics = [f"forecast-{n}" for n in range(MOST_FORECAST)]
    run.server.empty()
    for topic in topics:
        run.tell(f"{topic}: {count:,} timers, due within 30 days")
        _fill(run, keys.of(topic).timeline, count)
    meter = Meter(run.server)
    for reach in Range:
        edges = edges_of(reach, datetime.now(UTC))
        some = topics[: min(MOST_FORECAST, MOST_EDGES // len(edges))]
        what = f"forecast, {len(edges)} times of {len(some)} topics"
        run.tell(what)
        for _ in range(run.sized(_CALLS)):
            meter.ask(what, forecast(keys, some, edges))
    run.server.empty()
    medians = {what: 1000 * statistics.median(calls.cpu) for what, calls in meter.calls.items()}
    worst = max(medians, key=lambda what: medians[what])
    limit = Limit(
        f"{count:,} timers in each topic: a forecast takes up to {_MOST_MS} ms of the server per "
        "call (median)",
        f"{medians[worst]:.2f} ms ({worst})",
        medians[worst] <= _MOST_MS,
    )
    return [limit], table_of_calls(meter.calls)


def _fill(run: Run, timeline: bytes, count: int) -> None:
    chance = random.Random(0)  # noqa: S311  it picks due times
    now, month = time.time(), timedelta(days=30).total_seconds()
    for start in range(0, count, _AT_ONCE):
        ids = range(start, min(start + _AT_ONCE, count))
        due = {f"timer-{n}": round(now + chance.uniform(0, month), 6) for n in ids}
        run.server.client.zadd(timeline, due)
