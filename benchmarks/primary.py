"""What scheduling and delivering cost a server, apart from the clients."""

import time
from typing import Any

from redis.exceptions import NoScriptError

from benchmarks.curves import Curve, Panel, show_number
from benchmarks.measured import NONE, Run, Server, commits_of
from benchmarks.page import Table
from benchmarks.systems.harness import make_body
from faststream_redis_timers_sync.protocol.encoding import encode_message
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.steps import LEASE_JITTER
from faststream_redis_timers_sync.protocol.timers import encode_timer

SERVER_CPU = "server ms/1,000"
"""A column: CPU time of the server for 1,000 timers, in milliseconds."""

CPU_TITLE = "server CPU, ms per 1,000 timers"
"""How plots call it."""

SCHEDULE = "schedule: server ms/1,000"
DELIVER = "claim, commit: server ms/1,000"


def primary(run: Run) -> Curve:
    """Weigh what scheduling and delivering cost the server alone, in larger and larger calls."""
    curve = Curve("timers per call", (Panel(CPU_TITLE, (SCHEDULE, DELIVER)),))
    count = run.sized(20_000)
    for turn in run.turns:
        for size in (1, 5, 20, 100):
            run.tell(f"primary: calls of {size}, run {turn + 1}")
            run.server.empty()
            figures = {}
            for name, work in ((SCHEDULE, _schedule), (DELIVER, _deliver)):
                before = run.server.cpu()
                work(run.server, count, size)
                figures[name] = 1e6 * (run.server.cpu() - before) / count
            curve.add(size, figures)
    rows = []
    for scheduled in (1, 100):
        for claimed in (5, 100):
            cost = curve.median(scheduled, SCHEDULE) + curve.median(claimed, DELIVER)
            rows.append(
                (
                    "one at a time" if scheduled == 1 else f"in batches of {scheduled}",
                    f"in claims of {claimed}",
                    show_number(cost),
                    show_number(1e6 / cost),
                    show_number(0.5e6 / cost),
                )
            )
    headers = ("scheduled", "delivered", SERVER_CPU, "timers/s on a core", "half a core")
    curve.more.append(Table(headers, rows))
    return curve


_OPERATIONS = Operations(KeySpace())


def _ask(server: Server, operation: Operation[Any]) -> Any:
    try:
        reply = server.client.execute_command(*operation.words(by_text=False))
    except NoScriptError:
        reply = server.client.execute_command(*operation.words(by_text=True))
    return operation.parse(reply)


def _schedule(server: Server, count: int, size: int) -> None:
    body, content_type = encode_message(make_body(time.time(), 0))
    for _ in range(count // size):
        timers = [encode_timer(body, content_type) for _ in range(size)]
        (operation,) = _OPERATIONS.schedule_calls("primary", timers)
        _ask(server, operation)


def _deliver(server: Server, count: int, size: int) -> None:
    commits = NONE
    # One call more: it commits what the last one has claimed.
    for number in range(count // size + 1):
        operation = _OPERATIONS.settle_and_claim(
            "primary", *commits, limit=size, lease_ttl=30.0, jitter=number % LEASE_JITTER
        )
        commits = commits_of(_ask(server, operation))


def cost_of_an_empty_claim(run: Run, cpu_alone: float) -> float:
    """Give the CPU time of the server for a claim that finds nothing, in seconds.

    Claims come every two milliseconds, so the server sleeps in between as it does
    among idle workers.

    Args:
        run: The run.
        cpu_alone: Share of a core that the server takes without any call.
    """
    run.tell("fleet: empty claims")
    run.server.empty()
    count = run.sized(2000)
    started, before = time.monotonic(), run.server.cpu()
    for number in range(count):
        operation = _OPERATIONS.settle_and_claim("x", [], limit=5, lease_ttl=30.0, jitter=number)
        _ask(run.server, operation)
        time.sleep(0.002)
    spent = run.server.cpu() - before
    return (spent - cpu_alone * (time.monotonic() - started)) / count
