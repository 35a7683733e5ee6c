"""What fleets cost and how late they are, by simulation: with all on duty, and with a few."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks import duty_parts as without
from benchmarks.curves import show_number
from benchmarks.page import Table
from benchmarks.results import quantile
from benchmarks.simulated_fleet import DrawWork, Fleet, MakeRule, all_on_duty, duty_of
from benchmarks.simulated_topic import GROUPS, Counts, Work
from faststream_redis_timers.delivery.duty import Duty

HOLDERS = 3
"""Workers on duty."""


class Plan(NamedTuple):
    """How a fleet is to behave.

    Args:
        make_rule: Makes the rule of a worker.
        groups: Groups in which the reserve listens.
    """

    make_rule: MakeRule
    groups: int = GROUPS


ALL = Plan(all_on_duty)
SOME = Plan(duty_of(HOLDERS))


# --- what handlers do


def _always(work: Work) -> DrawWork:
    return lambda _: work


short, long = _always(Work(0.001)), _always(Work(1.0))
computing = _always(Work(waits=1.0, blocks=0.02))
blocking = _always(Work(blocks=2.0))
late_blocking = _always(Work(waits_before=0.01, blocks=2.0))


def mixed(load: random.Random) -> Work:
    """Take from 0.1 milliseconds to a second."""
    return Work(load.choice((0.0001, 0.001, 0.01, 0.1, 1.0)))


_SECONDS = {mixed: 0.22222, computing: 1.02}
"""How long they take in the mean."""


# --- what is measured


class Figures(NamedTuple):
    """What was measured of a fleet.

    Args:
        calls: Calls per second.
        commands: Commands per second to listen to a channel, or to no longer do so.
        messages: Messages for each timer.
        median: The median lateness in milliseconds.
        late: The lateness in milliseconds that 99% are below.
        latest: The greatest one.
    """

    calls: float
    commands: float
    messages: float
    median: float
    late: float
    latest: float


def figures_of(counts: Counts, seconds: float) -> Figures:
    """Sum up what happened.

    Args:
        counts: What happened.
        seconds: For how long.
    """
    late = sorted(counts.late) or [math.nan]
    return Figures(
        counts.calls / seconds,
        counts.commands / seconds,
        counts.messages / max(1, counts.timers),
        *(1000 * quantile(late, share) for share in (0.5, 0.99, 1.0)),
    )


@dataclass(frozen=True)
class Load:
    """Timers, and the workers that they are for.

    Args:
        workers: How many.
        rate: Timers per second.
        draw_work: Draws what handlers do.
        slots: How many a worker runs at once.
        together: How many timers are due at the same time.
        seconds: For how long it is measured.
        warm_up: Seconds before that.
        within: Seconds within which the workers start.
    """

    workers: int
    rate: float
    draw_work: DrawWork
    slots: int = 5
    together: int = 1
    seconds: float = 60.0
    warm_up: float = 15.0
    within: float = 5.0

    def begin(self, plan: Plan, seconds: float, seed: int = 0) -> Fleet:
        """Start such a fleet, with timers for some seconds.

        Args:
            plan: How it is to behave.
            seconds: For how long.
            seed: Gives the same history each time.
        """
        fleet = Fleet(plan.make_rule, slots=self.slots, seed=seed, groups=plan.groups)
        fleet.start(self.workers, self.within)
        fleet.feed(self.rate, seconds, self.draw_work, together=self.together)
        return fleet

    def measure(self, plan: Plan) -> Figures:
        """Measure a fleet.

        Args:
            plan: How it is to behave.
        """
        fleet = self.begin(plan, self.warm_up + self.seconds)
        fleet.run(self.warm_up)
        return figures_of(fleet.run(self.seconds), self.seconds)

    def measure_loss(
        self,
        plan: Plan,
        lost: int,
        *,
        is_killed: bool = False,
        skipped: float = 10.0,
        seed: int = 0,
    ) -> tuple[Figures, Figures]:
        """Measure a fleet before and after it got used to the loss of workers on duty.

        Args:
            plan: How it is to behave.
            lost: How many.
            is_killed: Whether they are killed, and not stopped with their connections open.
            skipped: Seconds after which it is measured anew.
            seed: Gives the same history each time.
        """
        fleet = self.begin(plan, self.warm_up + skipped + self.seconds, seed)
        fleet.run(self.warm_up)
        on_duty = [worker for worker in fleet.workers if worker in fleet.topic.on_duty]
        for worker in on_duty[:lost]:
            if is_killed:
                worker.kill()
            else:
                worker.pause()
        return (
            figures_of(fleet.run(skipped), skipped),
            figures_of(fleet.run(self.seconds), self.seconds),
        )


def measure_departure(plan: Plan, seed: int = 0, *, is_killed: bool = False) -> float:
    """Let all who are on duty stop at once, as when a fleet is made smaller; one timer per second.

    Args:
        plan: How the fleet is to behave.
        seed: Gives the same history each time.
        is_killed: Whether they are killed.

    Returns:
        The greatest lateness of the half minute after that, in milliseconds.
    """
    load = Load(30, 1, short)
    fleet = load.begin(plan, load.warm_up + 32, seed)
    fleet.run(load.warm_up)
    on_duty = [worker for worker in fleet.workers if worker in fleet.topic.on_duty]
    for worker in on_duty[:HOLDERS]:
        if is_killed:
            worker.kill()
        else:
            worker.stop()
    return figures_of(fleet.run(30), 30).latest


def measure_burst(
    plan: Plan, workers: int, *, slots: int = 5, timers: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Let many timers be due at once.

    Args:
        plan: How the fleet is to behave.
        workers: How many there are.
        slots: How many handlers each runs at once.
        timers: How many timers.
        seed: Gives the same history each time.

    Returns:
        The milliseconds until 90% of what can run at once does so, and messages for each timer.
    """
    load = Load(workers, 10, short, slots, warm_up=20.0)
    fleet = load.begin(plan, load.warm_up, seed)
    fleet.run(load.warm_up + 3)
    began_at = fleet.timeline.now
    fleet.schedule(began_at, 0.0, [Work(1.0)] * timers)
    counts = fleet.run(5)
    enough = math.ceil(0.9 * min(timers, workers * slots))
    return 1000 * (counts.begun_at[enough - 1] - began_at), counts.messages / timers


# --- what each part of the rule is worth


def _without(kind: type[Duty]) -> Plan:
    return Plan(duty_of(HOLDERS, kind))


PARTS = {
    "all on duty": ALL,
    "the rule": SOME,
    "2 on duty": Plan(duty_of(2)),
    "5 on duty": Plan(duty_of(5)),
    "no calls for those who leave": _without(without.NoCallForMissing),
    "no calls for what is left": _without(without.NoCallForRest),
    "no quiet after calls": _without(without.NoQuiet),
    "calls divided among holders": _without(without.Divided),
    "reserve in 1 group": Plan(SOME.make_rule, groups=1),
    "reserve in 16 groups": Plan(SOME.make_rule, groups=16),
    "no evidence of ghosts": _without(without.NoEvidence),
    "ghosts counted on": _without(without.NoMissing),
    "helpers not told of ghosts": _without(without.NoWord),
    "holders return, ghosts counted on": _without(without.ReturnsAlways),
    "never too many": _without(without.NoThinning),
    "hasty thinning": _without(without.HastyThinning),
    "no joining by polls": _without(without.NoJoining),
    "no call at a stop": _without(without.NoFarewell),
    "never away": _without(without.NeverAway),
    "away only when full": _without(without.NoDistrust),
    "away for each timer": _without(without.NoTrust),
    "away until all has ended": _without(without.AwayUntilDone),
    "small fleets alike": _without(without.NoSmall),
}
"""Rules by what is left out of them, or done in its place."""

Cell = Callable[[Plan], str]
"""Measures something of a fleet, and shows it."""


def _show(*values: float) -> str:
    # tabulate takes 1,000 for a number where it wraps cells, and then can't read it.
    return "; ".join(show_number(value).replace(",", "") for value in values)


def busy_load(workers: int, slots: int, busy: float, together: int, draw_work: DrawWork) -> Load:
    """Describe a load that keeps a share of all slots busy.

    Args:
        workers: How many workers.
        slots: How many handlers each runs at once.
        busy: The share.
        together: How many timers are due at the same time.
        draw_work: `mixed`, or `computing`.
    """
    rate = busy * workers * slots / _SECONDS[draw_work]
    seconds = max(2.0, 2000 / rate)
    return Load(workers, rate, draw_work, slots, together, seconds, warm_up=4.0, within=1.0)


def _late(load: Load) -> Cell:
    return lambda plan: _show(load.measure(plan).late)


def _computing(plan: Plan) -> str:
    figures = Load(30, 10, computing).measure(plan)
    return _show(figures.calls, figures.messages)


def _stopped(plan: Plan) -> str:
    _, after = Load(30, 3, long, slots=1, seconds=240).measure_loss(plan, HOLDERS)
    return _show(after.median, after.late)


def _start(plan: Plan) -> str:
    return _show(Load(300, 10, short, within=0.01, warm_up=0.0, seconds=20).measure(plan).calls)


def _departed(plan: Plan) -> str:
    return _show(max(measure_departure(plan, seed) for seed in range(60)))


def _for_long(plan: Plan) -> str:
    return _show(Load(30, 10, computing, seconds=400).measure(plan).latest)


def _bursts(workers: int, slots: int) -> Cell:
    def measure(plan: Plan) -> str:
        bursts = [measure_burst(plan, workers, slots=slots, seed=seed) for seed in range(4)]
        return _show(*map(max, zip(*bursts, strict=True)))

    return measure


PART_COLUMNS: dict[str, Cell] = {
    "10/s, 1 ms: calls/s": lambda plan: _show(Load(30, 10, short).measure(plan).calls),
    "10/s, computing: calls/s; messages": _computing,
    "80% busy: 99%": _late(busy_load(30, 5, 0.8, 1, mixed)),
    "50%, in threes: 99%": _late(busy_load(30, 5, 0.5, 3, mixed)),
    "80%, computing: 99%": _late(busy_load(30, 5, 0.8, 1, computing)),
    "blocking: 99%": _late(Load(30, 3, blocking, seconds=240)),
    "blocking after 10 ms: 99%": _late(Load(30, 3, late_blocking, seconds=240)),
    "3 stopped: median; 99%": _stopped,
    "burst, 100 x 20: ms; messages": _bursts(100, 20),
    "burst, 1,000 x 5: ms; messages": _bursts(1000, 5),
    "300 start: calls/s": _start,
    "3 leave: latest": _departed,
    "10/s, computing, 400 s: latest": _for_long,
    "2 workers, blocking: 99%": _late(Load(2, 0.2, blocking, seconds=300)),
}
"""What is measured of each: latenesses in milliseconds, messages for each timer."""


def parts_table(names: Sequence[str], tell: Callable[[str], None]) -> Table:
    """Measure what each part of the rule is worth.

    Args:
        names: Some of `PARTS`.
        tell: Is told what is being measured.
    """
    rows = []
    for name in names:
        tell(name)
        rows.append((name, *(cell(PARTS[name]) for cell in PART_COLUMNS.values())))
    return Table(("30 workers x 5 slots", *PART_COLUMNS), rows)


# --- what is to be reached


@dataclass(frozen=True)
class Goal:
    """Something to reach.

    Args:
        name: What.
        measure: Measures it.
        wanted: What is wanted, as it is shown.
        is_met: Judges the figures of all on duty and of some on duty.
    """

    name: str
    measure: Callable[[Plan], tuple[float, ...]]
    wanted: str
    is_met: Callable[[tuple[float, ...], tuple[float, ...]], bool]


def _calls_goal(workers: int, name: str, draw_work: DrawWork) -> Goal:
    most = workers / 5 + 80
    load = Load(workers, 10, draw_work, seconds=20 if workers > 100 else 60)

    def measure(plan: Plan) -> tuple[float, ...]:
        figures = load.measure(plan)
        return figures.calls, figures.messages, figures.late

    messages = 4 if workers <= 50 else 20
    return Goal(
        f"W = {workers:,}, 10/s, {name}: calls/s; messages; 99%",
        measure,
        f"{most:.0f}; {messages}",
        lambda _, new: new[0] <= most and new[1] <= messages,
    )


_BUSY = ((30, 1, 0.2), (30, 1, 0.8), (30, 5, 0.2), (30, 5, 0.5), (30, 5, 0.8), (100, 5, 0.8))
"""Workers, their slots, and the share of these that is busy."""


def _busy_goal(draw_work: DrawWork, name: str, together: int) -> Goal:
    most = 1.0 if together == 1 else 5.0

    def measure(plan: Plan) -> tuple[float, ...]:
        return tuple(
            busy_load(workers, slots, busy, together, draw_work).measure(plan).late
            for workers, slots, busy in _BUSY
        )

    alone = "alone" if together == 1 else "in threes"
    return Goal(
        f"{name}, {alone}, 20, 80% of 30 x 1, 20, 50, 80% of 30 x 5, 80% of 100 x 5 busy: 99%",
        measure,
        f"{most:.0f} over",
        lambda old, new: all(n <= o + most for o, n in zip(old, new, strict=True)),
    )


def _burst_goal(workers: int, most: float) -> Goal:
    return Goal(
        f"burst of 1,000, W = {workers:,}: 90% busy after; messages",
        lambda plan: measure_burst(plan, workers),
        f"{most:.0f}; 20",
        lambda _, new: new[0] <= most and new[1] <= 20,
    )


def _loss_goal(name: str, lost: int, draw_work: DrawWork, *, is_killed: bool = False) -> Goal:
    load = Load(30, 10 if draw_work is short else 3, draw_work, slots=1, seconds=240)

    def measure(plan: Plan) -> tuple[float, ...]:
        before, after = load.measure_loss(plan, lost, is_killed=is_killed)
        return before.latest, after.median, after.late

    latest = 10.0 if lost == 1 else 7500.0
    return Goal(
        f"{name}: latest in 10 s; then median, 99%",
        measure,
        f"{latest:,.0f}; 1; 10",
        lambda _, new: new[0] <= latest and new[1] <= 1 and new[2] <= 10,
    )


def _blocking_goal(workers: int, draw_work: DrawWork, name: str) -> Goal:
    load = Load(workers, workers / 10, draw_work, seconds=3000 / workers)
    return Goal(
        f"blocking for 2 s{name}, 20% busy, W = {workers}: 99%",
        lambda plan: (load.measure(plan).late,),
        "5",
        lambda _, new: new[0] <= 5,
    )


def _small_goal(workers: int) -> Goal:
    def measure(plan: Plan) -> tuple[float, ...]:
        figures = [Load(workers, 10, work).measure(plan) for work in (short, long, computing)]
        return tuple(value for each in figures for value in (each.calls, each.late))

    return Goal(
        f"W = {workers}, 1 ms, 1 s, computing: calls/s; 99%",
        measure,
        "within 10%",
        lambda old, new: all(n <= 1.1 * o for o, n in zip(old, new, strict=True)),
    )


GOALS = (
    *(
        _calls_goal(workers, name, work)
        for name, work in (("1 ms", short), ("1 s", long), ("20 ms computing + 1 s", computing))
        for workers in (30, 50, 100, 1000)
    ),
    *(
        _busy_goal(work, name, together)
        for name, work in (("0.1 ms to 1 s", mixed), ("20 ms computing + 1 s", computing))
        for together in (1, 3)
    ),
    _burst_goal(100, 10.0),
    _burst_goal(1000, 30.0),
    _loss_goal("1 killed, handlers of 1 ms", 1, short, is_killed=True),
    _loss_goal("1 stopped, 1 ms", 1, short),
    _loss_goal("1 stopped, 1 s", 1, long),
    _loss_goal("all 3 stopped, 1 ms", 3, short),
    _loss_goal("all 3 stopped, 1 s", 3, long),
    _loss_goal("all 3 stopped, blocking", 3, blocking),
    *(
        _blocking_goal(workers, work, name)
        for work, name in ((blocking, ""), (late_blocking, " after 10 ms"))
        for workers in (10, 30, 100)
    ),
    _small_goal(3),
    _small_goal(8),
)


def goals_table(goals: Sequence[Goal], tell: Callable[[str], None]) -> Table:
    """Measure what is to be reached, with all on duty and with some.

    Args:
        goals: What.
        tell: Is told what is being measured.
    """
    rows = []
    for goal in goals:
        tell(goal.name)
        old, new = goal.measure(ALL), goal.measure(SOME)
        met = "yes" if goal.is_met(old, new) else "NO"
        rows.append((goal.name, _show(*old), _show(*new), goal.wanted, met))
    return Table(("latenesses in ms", "all on duty", "3 on duty", "to reach", "met"), rows)
