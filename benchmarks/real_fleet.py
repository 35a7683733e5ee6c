"""A fleet of worker processes on this machine, with all of them on duty and with a few.

What is measured here takes in what the simulation leaves out: that processes share processors,
what Python and the event loop take, and what a server does at all these calls.
"""

import math
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, groupby
from typing import Any, NamedTuple, Self

from benchmarks.curves import show_number
from benchmarks.environments import ALL_ON_DUTY, System
from benchmarks.half_open import HalfOpen
from benchmarks.measured import PROBES, Run
from benchmarks.messages import count_listeners, monitored
from benchmarks.page import Limit, Table
from benchmarks.processes import Unfinished, Worker, producing, worker
from benchmarks.results import quantile
from faststream_redis_timers_sync.protocol.keys import RESERVE_GROUPS, KeySpace

SIZE = 30
"""Workers of a fleet, where nothing else is said."""

RATE = 10.0
"""Timers per second, where nothing else is said."""

LEASE = 30.0
"""Seconds: the default of a subscriber. What a lost worker had claimed comes so much later."""

_TOPIC = "fleet"
_KEYS = KeySpace()
_CHANNEL = _KEYS.channel_of(_TOPIC)
_CHANNELS = [
    _CHANNEL,
    *(_KEYS.reserve_channel_of(_TOPIC, group) for group in range(RESERVE_GROUPS)),
]
"""Those on which workers hear something: that for wake-ups, and the reserve's groups."""


def _work(*, waits: float = 0.0, blocks: float = 0.0, computes: float = 0.0) -> dict[str, float]:
    return {"waits": waits, "blocks": blocks, "computes": computes}


_SHORT, _LONG = _work(waits=0.001), _work(waits=1.0)
_COMPUTING = _work(waits=1.0, computes=0.02)
_BLOCKING = _work(blocks=2.0)


class Figures(NamedTuple):
    """What was measured.

    Args:
        on_duty: Workers on duty in the end, as the server counts them.
        calls: Calls per second of workers, without those that scheduled.
        cpu: Percents of a core that the server took.
        messages: Messages for each timer; NaN where they were not counted.
        median: The median lateness in milliseconds.
        late: The lateness that 99% are below.
        latest: The greatest one.
        missing: Timers that were not handled in time, by those who can still tell.
        twice: Timers that were handled more than once.
    """

    on_duty: float
    calls: float
    cpu: float
    messages: float
    median: float
    late: float
    latest: float
    missing: float
    twice: float


@dataclass(frozen=True)
class Kind:
    """A kind of fleet.

    Args:
        slots: How many handlers a worker runs at once.
        old: How many of the workers know no duty.
        relayed: How many, the first ones, are behind a relay.
    """

    slots: int = 5
    old: int = 0
    relayed: int = 0


@dataclass
class Member:
    """A worker of a fleet.

    Args:
        worker: The worker.
        stack: Ends it.
    """

    worker: Worker
    stack: ExitStack


class RealFleet:
    """Worker processes of one topic.

    Args:
        run: The run.
        kind: What kind of fleet it is.
        size: How many workers.
        duty: How many of them are to be on duty; None for all.
    """

    def __init__(self, run: Run, kind: Kind, size: int, duty: int | None) -> None:
        """Begin without workers."""
        self.kind, self.size = kind, size
        self._run, self._duty = run, duty
        self._members: list[Member] = []
        self._stopped: list[Member] = []
        self._told: list[dict[str, Any]] = []
        self._seeds = count()
        self._relay: HalfOpen | None = None

    def __enter__(self) -> Self:
        """Begin; `start` starts the workers."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all workers."""
        for member in (*self._members, *self._stopped):
            member.worker.signal(signal.SIGKILL)
            member.stack.close()
        if self._relay is not None:
            self._relay.__exit__()

    def start(self) -> None:
        """Start all workers, one after the other."""
        self._run.server.empty()
        if self.kind.relayed:
            self._relay = HalfOpen(self._run.server.url).__enter__()
        for number in range(self.size):
            self._run.tell(f"starting worker {number + 1} of {self.size}")
            is_old = self.size - number <= self.kind.old
            is_relayed = self._relay is not None and number < self.kind.relayed
            self._start(
                ALL_ON_DUTY if is_old else PROBES,
                self._relay.url if self._relay and is_relayed else self._run.server.url,
            )

    def _start(self, system: System, url: str) -> None:
        stack = ExitStack()
        options: dict[str, Any] = {"max_concurrent": self.kind.slots}
        if system is PROBES:
            options["duty"] = self._duty
        started = stack.enter_context(worker(system, url, topics=[], works=[_TOPIC], **options))
        started.ask("go")
        self._members.append(Member(started, stack))

    # --- what befalls its workers

    def holders(self, most: int) -> list[Member]:
        """Give workers on duty: they have handled timers within two seconds.

        Args:
            most: How many at most, those that handled the most timers.
        """
        before = self._ask("count")
        time.sleep(2.0)
        after = self._ask("count")
        handled = [
            (last["count"] - first["count"], member)
            for first, last, member in zip(before, after, self._members, strict=True)
        ]
        handled.sort(key=lambda each: each[0], reverse=True)
        return [member for count, member in handled[:most] if count]

    def kill(self, member: Member) -> None:
        """Kill a worker, once it has told what it has handled."""
        self._told.append(member.worker.ask("report"))
        member.worker.signal(signal.SIGKILL)
        self._members.remove(member)
        member.stack.close()

    def stop(self, member: Member) -> None:
        """Stop a worker: its connections stay open."""
        self._told.append(member.worker.ask("report"))
        member.worker.signal(signal.SIGSTOP)
        self._members.remove(member)
        self._stopped.append(member)

    def resume(self) -> None:
        """Let those who are stopped go on."""
        for member in self._stopped:
            member.worker.signal(signal.SIGCONT)
            # What it has told is not to be told again.
            member.worker.ask("reset")
        self._members += self._stopped
        self._stopped = []

    def restart(self, every: float, number: int) -> None:
        """Replace workers one after the other: each ends in good order, and one is started.

        Args:
            every: Seconds from one to the next.
            number: How many.
        """
        next_at = time.monotonic()
        for member in self._members[:number]:
            time.sleep(max(0.0, next_at - time.monotonic()))
            next_at += every
            member.worker.ask("finish")
            self._told.append(member.worker.ask("report"))
            self._members.remove(member)
            member.stack.close()
            self._start(PROBES, self._run.server.url)

    def half_open(self) -> None:
        """Make the connections for wake-ups half open of those behind the relay."""
        if self._relay is not None:
            self._relay.half_open()

    # --- what it does

    def feed(
        self,
        seconds: float,
        work: dict[str, float],
        *,
        rate: float = RATE,
        meanwhile: Callable[[], None] = lambda: None,
        counts_messages: bool = True,
    ) -> Figures:
        """Schedule timers for a while, and measure.

        Args:
            seconds: How long.
            work: What handlers do.
            rate: Timers per second.
            meanwhile: What is done while they are scheduled, some moments after the begin.
            counts_messages: Whether messages are counted, which costs the server something.
        """
        options = {"seconds": seconds, "rate": rate, "seed": next(self._seeds)}
        figures, _ = self._measure(
            {"action": "feed", "work": work, **options}, meanwhile, counts_messages=counts_messages
        )
        return figures

    def burst(self, timers: int) -> Figures:
        """Let timers be due at once whose handlers take a second.

        Args:
            timers: How many.

        Returns:
            As the latest: the time until 90% of what can run at once does so.
        """
        figures, late = self._measure(
            {"action": "burst", "work": _LONG, "count": timers},
            lambda: None,
            counts_messages=True,
        )
        enough = math.ceil(0.9 * min(timers, self.size * self.kind.slots))
        took = 1000 * late[enough - 1] if len(late) >= enough else math.nan
        # The others are the queue's, not the fleet's.
        return figures._replace(calls=math.nan, median=math.nan, late=math.nan, latest=took)

    def _measure(
        self, options: dict[str, Any], meanwhile: Callable[[], None], *, counts_messages: bool
    ) -> tuple[Figures, list[float]]:
        server = self._run.server
        self._told = []
        self._ask("reset")
        with ExitStack() as stack:
            watched = None
            if counts_messages:
                watched = stack.enter_context(monitored(server, _CHANNELS))
            calls, cpu, began_at = server.script_calls(), server.cpu(), time.monotonic()
            with producing(PROBES, server.url, topic=_TOPIC, **options) as wait:
                meanwhile()
                fed = wait()
            time.sleep(max(0.0, fed["last"] - time.time()))
            seconds = time.monotonic() - began_at
            calls, cpu = server.script_calls() - calls - fed["count"], server.cpu() - cpu
            self._drain()
        on_duty = count_listeners(server, _CHANNEL)
        reports = self._ask("report")
        reports += self._told
        numbers = [number for report in reports for number in report["numbers"]]
        late = sorted(value for report in reports for value in report["lateness"])
        figures = Figures(
            on_duty,
            calls / seconds,
            100 * cpu / seconds,
            watched.messages / fed["count"] if watched else math.nan,
            *(1000 * quantile(late, share) if late else math.nan for share in (0.5, 0.99, 1.0)),
            missing=fed["count"] - len(set(numbers)),
            twice=len(numbers) - len(set(numbers)),
        )
        return figures, late

    def _ask(self, command: str) -> list[dict[str, Any]]:
        # All at once: on a busy machine each takes its time.
        for member in self._members:
            member.worker.tell(command)
        return [member.worker.answer() for member in self._members]

    def _drain(self) -> None:
        timeline = _KEYS.of(_TOPIC).timeline
        end = time.monotonic() + 1.5 * LEASE
        while self._run.server.client.zcard(timeline) and time.monotonic() < end:
            time.sleep(0.1)


# --- what a fleet meets

Rows = dict[str, Figures]
"""What was measured, by what it is called."""


def _steady(fleet: RealFleet, seconds: float) -> Rows:
    # All are on duty when they have just started, and leave one after the other.
    fleet.feed(seconds, _SHORT, counts_messages=False)
    return {
        "10/s, 1 ms": fleet.feed(2 * seconds, _SHORT, counts_messages=False),
        "the same, messages counted": fleet.feed(seconds, _SHORT),
    }


def _handlers(fleet: RealFleet, seconds: float) -> Rows:
    return {
        "10/s, 1 s": fleet.feed(seconds, _LONG),
        "10/s, 20 ms computing + 1 s": fleet.feed(seconds, _COMPUTING),
        "3/s, 2 s blocking": fleet.feed(4 * seconds, _BLOCKING, rate=fleet.size / 10),
    }


def _burst(fleet: RealFleet, _: float) -> Rows:
    return {f"burst of 1,000, {fleet.kind.slots} slots: 90% busy": fleet.burst(1000)}


def _losses(fleet: RealFleet, seconds: float) -> Rows:
    def feed(meanwhile: Callable[[], None] = lambda: None) -> Figures:
        return fleet.feed(seconds, _SHORT, meanwhile=meanwhile)

    def lose(most: int, how: Callable[[Member], None]) -> Callable[[], None]:
        def meanwhile() -> None:
            for member in fleet.holders(most):
                how(member)

        return meanwhile

    feed()
    return {
        "1 on duty killed": feed(lose(1, fleet.kill)),
        "1 on duty stopped": feed(lose(1, fleet.stop)),
        "then": feed(),
        # Of a few on duty these are all.
        "6 on duty stopped, or all": feed(lose(6, fleet.stop)),
        "then, with these stopped": feed(),
        "all continued": feed(fleet.resume),
        "then, with none stopped": feed(),
        "10 restarted, 1 in a second": fleet.feed(
            12, _SHORT, meanwhile=lambda: fleet.restart(1.0, 10)
        ),
    }


def _mixed(fleet: RealFleet, seconds: float) -> Rows:
    fleet.feed(seconds, _SHORT, counts_messages=False)
    name = f"{fleet.kind.old} of the old"
    return {
        f"{name}, 1 ms": fleet.feed(seconds, _SHORT),
        f"{name}, 1 s": fleet.feed(seconds, _LONG),
    }


def _half_open(fleet: RealFleet, seconds: float) -> Rows:
    fleet.feed(seconds, _SHORT, counts_messages=False)
    return {
        "connections of 8 half open": fleet.feed(seconds, _SHORT, meanwhile=fleet.half_open),
        "then, with these half open": fleet.feed(seconds, _SHORT),
    }


@dataclass(frozen=True)
class Scenario:
    """Something that a fleet meets.

    Args:
        kind: The kind of fleet.
        measure: Measures it, with each phase so many seconds long.
    """

    kind: Kind
    measure: Callable[[RealFleet, float], Rows]


SCENARIOS = {
    "steady": Scenario(Kind(), _steady),
    "handlers": Scenario(Kind(), _handlers),
    "burst": Scenario(Kind(), _burst),
    "losses": Scenario(Kind(), _losses),
    "burst-wide": Scenario(Kind(slots=20), _burst),
    "mixed-10": Scenario(Kind(old=10), _mixed),
    "mixed-29": Scenario(Kind(old=29), _mixed),
    "half-open": Scenario(Kind(relayed=8), _half_open),
}
"""Those of one kind stand beside each other, and meet the same fleet."""


# --- what came of it


class Goal(NamedTuple):
    """Something to reach.

    Args:
        row: Of which row.
        column: Of which column.
        most: The most that it may be.
    """

    row: str
    column: str
    most: float


GOALS = (
    Goal("10/s, 1 ms", "calls", 86),
    Goal("10/s, 1 ms", "median", 2),
    Goal("10/s, 1 ms", "late", 8),
    Goal("the same, messages counted", "messages", 4),
    Goal("1 on duty killed", "latest", 10),
    Goal("1 on duty stopped", "latest", 10),
    Goal("then", "late", 10),
    Goal("6 on duty stopped, or all", "latest", 7500),
    Goal("then, with these stopped", "late", 10),
    Goal("3/s, 2 s blocking", "late", 5),
)
"""By a fleet of `SIZE`, with some on duty."""

_COLUMNS = ("on duty", "calls/s", "server CPU, %", "messages", "median", "99%", "latest")


class Measured:
    """What all scenarios came to.

    Attributes:
        notes: What went wrong, a sentence each.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self.notes: list[str] = []
        self._figures: dict[tuple[str, str], Figures] = {}

    def add(self, rule: str, rows: Rows) -> None:
        """Add what a scenario came to.

        Args:
            rule: How many were to be on duty, as tables say it.
            rows: What was measured.
        """
        for name, figures in rows.items():
            self._figures[name, rule] = figures
            for number, what in ((figures.missing, "missing"), (figures.twice, "handled twice")):
                if number:
                    self.notes.append(f"{name}, {rule} on duty: {number:.0f} {what}")

    def table(self) -> Table:
        """Show all figures: latenesses in milliseconds."""
        names = list(dict.fromkeys(name for name, _ in self._figures))
        rows = [
            (name, rule, *("" if math.isnan(value) else show_number(value) for value in shown))
            for name in names
            for (other, rule), (*shown, _, _) in self._figures.items()
            if other == name
        ]
        return Table(("timers", "to be on duty", *_COLUMNS), rows)

    def limits(self, rule: str) -> list[Limit]:
        """Compare what was reached with what is to be.

        Args:
            rule: With how many on duty.
        """
        found = []
        for row, column, most in GOALS:
            if (figures := self._figures.get((row, rule))) is not None:
                reached = getattr(figures, column)
                name = f"{row}: {column} at most {most:g}"
                found.append(Limit(name, show_number(reached), reached <= most))
        return found


def measure(run: Run, names: Sequence[str], duties: Sequence[int | None], workers: int) -> Measured:
    """Measure fleets, in turns for each kind of fleet.

    Args:
        run: The run.
        names: Some of `SCENARIOS`.
        duties: How many are to be on duty; None for all.
        workers: How many workers a fleet has.
    """
    measured = Measured()
    seconds = 1.0 if run.quick else 10.0
    scenarios = [SCENARIOS[name] for name in names]
    for kind, some in groupby(scenarios, key=lambda scenario: scenario.kind):
        met = list(some)
        for duty in duties:
            rule = "all" if duty is None else f"{duty}"
            try:
                if kind.old:
                    ALL_ON_DUTY.install()
                with RealFleet(run, kind, workers, duty) as fleet:
                    fleet.start()
                    for scenario in met:
                        run.tell(f"{rule} on duty: {scenario.measure.__name__.strip('_')}")
                        measured.add(rule, scenario.measure(fleet, seconds))
            except (Unfinished, RuntimeError) as problem:
                measured.notes.append(f"{rule} on duty: {problem}")
    return measured
