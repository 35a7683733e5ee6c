"""How long single commands keep the server busy while a topic holds a million timers."""

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from benchmarks.measured import NONE, Run, Server, commits_of
from benchmarks.page import Limit, Table
from faststream_redis_timers_sync.protocol.encoding import encode_message
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.management import move_some
from faststream_redis_timers_sync.protocol.model import (
    CommitGroup,
    EncodedTimer,
    Settlement,
    Step,
)
from faststream_redis_timers_sync.protocol.operation import MOST_CHANGED, Operation
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.steps import LEASE_JITTER, MOST_CLAIMED
from faststream_redis_timers_sync.protocol.timers import encode_timer

TOPIC = "million"
LARGE = "large"
_AFTERWARDS = "schedule, after cancel_all"
"""The kind of the calls that were made while cancelled timers were freed."""

_AT_ONCE = 5000

_MOST_MS = 5
"""Milliseconds that a command may keep the server busy."""

_T = TypeVar("_T")


@dataclass
class Calls:
    """All calls of one kind.

    Args:
        cpu: Seconds of CPU time that the server's main thread spent on each.
        slow: What SLOWLOG said: seconds by the clock, and of CPU time.
    """

    cpu: list[float] = field(default_factory=list)
    slow: list[tuple[float, float]] = field(default_factory=list)

    @property
    def worst(self) -> tuple[float, float]:
        """The worst and the second worst CPU time, in seconds."""
        first, *rest = sorted(self.cpu, reverse=True)
        return first, max(rest, default=first)

    @property
    def holds(self) -> bool:
        """Whether the limit holds.

        One call above it may be one that lost its processor half way: what a virtual
        machine was not given of it is counted as if it were. Two calls are not chance.
        """
        return 1000 * self.worst[1] <= _MOST_MS


class Meter:
    """Sends commands one by one, and notes the server's CPU time around each.

    SLOWLOG knows how long a command took by the clock, which includes the time
    in which other processes had the processor. The CPU time of the server's
    main thread does not.

    Args:
        server: The server.
    """

    def __init__(self, server: Server) -> None:
        """Let the server log what is slow."""
        self._client = server.client
        self._client.config_set("slowlog-log-slower-than", 1000 * _MOST_MS)
        self._client.config_set("slowlog-max-len", 100)
        self._client.slowlog_reset()
        self._loaded: set[bytes] = set()
        self.calls: dict[str, Calls] = defaultdict(Calls)

    def ask(self, what: str, operation: Operation[_T]) -> _T:
        """Send a command and give its result.

        Args:
            what: The kind of the call.
            operation: The call.
        """
        script = operation.script
        if script.sha not in self._loaded:
            self._client.script_load(script.text)
            self._loaded.add(script.sha)
        # In one go, so that the server does nothing else between the two INFO.
        pipeline = self._client.pipeline(transaction=False)
        pipeline.info("cpu")
        pipeline.execute_command(*operation.words(by_text=False))
        pipeline.info("cpu")
        pipeline.execute_command("SLOWLOG", "LEN")
        before, reply, after, slow = pipeline.execute()
        calls = self.calls[what]
        calls.cpu.append(_main_thread(after) - _main_thread(before))
        if slow:
            calls.slow += [
                (entry["duration"] / 1e6, calls.cpu[-1])
                for entry in self._client.slowlog_get(100)
                if entry["command"].startswith(b"EVAL")
            ]
            self._client.slowlog_reset()
        return operation.parse(reply)

    def ask_all(self, what: str, steps: Iterable[Any]) -> None:
        """Send what needs several commands.

        Args:
            what: The kind of the calls.
            steps: The calls, as `Operations` gives them.
        """
        generator: Any = iter(steps)
        result = None
        while True:
            try:
                step = generator.send(result)
            except StopIteration:
                return
            # Iterations give pages in between.
            result = self.ask(what, step) if isinstance(step, Operation) else None


def _main_thread(info: dict[str, float]) -> float:
    return info["used_cpu_sys_main_thread"] + info["used_cpu_user_main_thread"]


class _Scenario:
    def __init__(self, server: Server, count: int, tell: Callable[[str], None]) -> None:
        self.server = server
        self.meter = Meter(server)
        self.count = count
        self.tell = tell
        self.operations = Operations(KeySpace())
        self.random = random.Random(0)  # noqa: S311  it picks ids
        self.ids: list[str] = []

    def timers(self, count: int, size: int, **due: Any) -> list[EncodedTimer]:
        body, content_type = encode_message("x" * size)
        return [encode_timer(body, content_type, **due) for _ in range(count)]

    def schedule(self, what: str, topic: str, count: int, size: int, **due: Any) -> None:
        for start in range(0, count, _AT_ONCE):
            timers = self.timers(min(_AT_ONCE, count - start), size, **due)
            self.meter.ask_all(what, self.operations.schedule_batch(topic, timers))
            if topic == TOPIC:
                self.ids += [timer.timer_id for timer in timers]

    def claim(self, topic: str, limit: int, calls: int, what: str) -> None:
        commits = NONE
        for _ in range(calls):
            commits = commits_of(self._step(what, topic, *commits, limit=limit))

    def settle_most(self, topic: str, calls: int, action: bytes, what: str) -> None:
        """Settle as many timers as a call may, and claim as many."""
        held: list[Settlement] = []
        for _ in range(calls):
            while len(held) < MOST_CHANGED:
                held += self._claimed(action, f"claim of {MOST_CLAIMED}", topic, [])
            now, held = held[:MOST_CHANGED], held[MOST_CHANGED:]
            held += self._claimed(action, what, topic, now)

    def _claimed(
        self, action: bytes, what: str, topic: str, settlements: list[Settlement]
    ) -> list[Settlement]:
        step = self._step(what, topic, settlements, [], limit=MOST_CLAIMED)
        return [Settlement(action, claimed.timer_id, step.lease) for claimed in step.claimed]

    def _step(
        self,
        what: str,
        topic: str,
        settlements: list[Settlement],
        groups: list[CommitGroup],
        *,
        limit: int,
    ) -> Step:
        operation = self.operations.settle_and_claim(
            topic,
            settlements,
            groups,
            limit=limit,
            lease_ttl=30.0,
            jitter=self.random.randrange(LEASE_JITTER),
        )
        return self.meter.ask(what, operation)

    def walk(self) -> None:
        for what, options in (
            ("get_pending_timers", {"bodies": False}),
            ("iter_timers(match='*abc*')", {"match": "*abc*", "bodies": False}),
            ("iter_timers(match='*')", {"match": "*", "bodies": False}),
        ):
            self.tell(f"{self.count:,} timers: {what}")
            self.meter.ask_all(what, self.operations.iterate(TOPIC, **options))

    def touch_some(self, times: int) -> None:
        self.tell(f"{self.count:,} timers: single ones")
        ask, operations = self.meter.ask, self.operations
        day = timedelta(days=1)
        for timer_id in self.random.sample(self.ids, times):
            ask("get_timer", operations.get(TOPIC, timer_id))
            ask("has_pending", operations.has_pending(TOPIC, timer_id))
            ask("count_pending", operations.count(TOPIC))
            move = operations.reschedule(TOPIC, timer_id, activate_in=day, activate_at=None)
            ask("reschedule_timer", move)
            (timer,) = self.timers(1, 200, activate_in=day)
            ask("schedule", operations.schedule(TOPIC, timer))
            ask("cancel_timer", operations.cancel(TOPIC, timer_id))
        for _ in range(times // 10):
            some = self.random.sample(self.ids, MOST_CHANGED)
            move_all = move_some(
                operations.keys, TOPIC, some, activate_in=2 * day, activate_at=None
            )
            ask(f"moving {MOST_CHANGED}", move_all)
            again = self.timers(MOST_CHANGED, 200, activate_in=day)
            for if_exists in ("replace", "keep"):
                replaced = [
                    timer._replace(timer_id=timer_id)
                    for timer, timer_id in zip(again, some, strict=True)
                ]
                what = f"schedule_batch, {if_exists} {MOST_CHANGED}"
                self.meter.ask_all(what, operations.schedule_batch(TOPIC, replaced, if_exists))
        many = self.random.sample(self.ids, len(self.ids) // 20)
        self.meter.ask_all("cancel_timers", operations.cancel_many(TOPIC, many))

    def cancel_all(self) -> None:
        self.meter.ask("cancel_all", self.operations.cancel_all(TOPIC))
        self.ids.clear()
        # What was cancelled is freed by a thread of the server, while it goes on.
        for timer in self.timers(1000, 200):
            self.meter.ask(_AFTERWARDS, self.operations.schedule(TOPIC, timer))
        self.server.empty()


def _measure(server: Server, count: int, tell: Callable[[str], None]) -> dict[str, Calls]:
    server.empty()
    scenario = _Scenario(server, count, tell)
    times = max(20, count // 1000)

    tell(f"{count:,} timers: scheduling them, due at one time")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    scenario.schedule("schedule_batch", TOPIC, count, 200, activate_at=tomorrow)
    scenario.touch_some(times)
    tell(f"{count:,} timers: iter_timers")
    scenario.meter.ask_all("iter_timers", scenario.operations.iterate(TOPIC))
    scenario.walk()
    scenario.cancel_all()

    tell(f"{count:,} timers: scheduling them, due at once")
    scenario.schedule("schedule_batch", TOPIC, count, 200)
    tell(f"{count:,} timers: claims and commits")
    for limit in (5, MOST_CLAIMED):
        scenario.claim(TOPIC, limit, times, f"claim, commit of {limit}")
    for action in (b"commit", b"nack"):
        what = f"claim of {MOST_CLAIMED}, {action.decode()} of {MOST_CHANGED}"
        scenario.settle_most(TOPIC, times // 10, action, what)
    scenario.walk()
    scenario.cancel_all()

    tell("Large bodies")
    scenario.schedule("schedule_batch, 10 KiB", LARGE, 2 * _AT_ONCE, 10 * 1024)
    scenario.claim(LARGE, MOST_CLAIMED, 100, f"claim, commit of {MOST_CLAIMED}, 10 KiB")
    what = f"claim of {MOST_CLAIMED}, commit of {MOST_CHANGED}, 10 KiB"
    scenario.schedule("schedule_batch, 10 KiB", LARGE, 2 * _AT_ONCE, 10 * 1024)
    scenario.settle_most(LARGE, 20, b"commit", what)
    server.empty()
    return scenario.meter.calls


def check_commands(run: Run) -> tuple[list[Limit], Table | None]:
    """No command keeps the server busy for long while a million timers are pending."""
    count = run.sized(1_000_000)
    calls = _measure(run.server, count, run.tell)
    afterwards = calls[_AFTERWARDS]
    others = {what: these for what, these in calls.items() if these is not afterwards}
    worst = max(others, key=lambda what: others[what].worst[1])
    missed = [what for what, these in others.items() if not these.holds]
    limits = [
        Limit(
            f"{count:,} timers: no command takes more than {_MOST_MS} ms of the server",
            f"{1000 * others[worst].worst[1]:.1f} ms ({worst})"
            + (f"; missed by: {'; '.join(missed)}" if missed else ""),
            not missed,
        ),
        Limit(
            f"nor does schedule while {count:,} cancelled timers are freed",
            f"{1000 * afterwards.worst[1]:.1f} ms ({run.server.allocator})",
            afterwards.holds,
        ),
    ]
    return limits, table_of_calls(calls)


def table_of_calls(calls: dict[str, Calls]) -> Table:
    """Show how long calls have kept the server busy, in milliseconds.

    Args:
        calls: The calls by their kind.
    """
    rows = []
    for what, these in calls.items():
        first, second = these.worst
        slowest = max((clock for clock, _ in these.slow), default=0.0)
        busy = sum(1000 * cpu > _MOST_MS for _, cpu in these.slow)
        rows.append(
            (
                what,
                f"{len(these.cpu):,}",
                *(f"{1000 * value:.2f}" for value in (statistics.median(these.cpu), second, first)),
                f"{len(these.slow)}/{busy}" if these.slow else "",
                f"{1000 * slowest:.1f}" if slowest else "",
            )
        )
    headers = ("command", "calls", "median", "second", "worst", "slow/busy", "longest")
    return Table(headers, rows)
