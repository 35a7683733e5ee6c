"""Which system is measured in which scenario, in which order, and about how long it takes."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import names
from benchmarks.bench import MANY_TOPICS, TOPIC, Bench
from benchmarks.costs import Imported, Watched, idle, imports, memory
from benchmarks.environments import LIST, OURS, PACKAGE, System
from benchmarks.scenarios import (
    batches_at_a_rate,
    blocking,
    consume_alone,
    drain,
    drain_in_batches,
    lateness_under_load,
    lateness_when_idle,
    publish,
)

TUNED = PACKAGE.tune()


@dataclass(frozen=True)
class Step:
    """A measurement of a system in a turn.

    Args:
        scenario: What progress calls it.
        label: Whom it measures.
        seconds: About how long it takes.
        measure: Measures.
    """

    scenario: str
    label: str
    seconds: float
    measure: Callable[[Bench], None]


def plan(turn: int, others: tuple[System, ...]) -> list[Step]:
    """Give the steps of a turn.

    What is compared stands side by side, and in every other turn the other way round: then a
    machine that grows slower favours nobody.

    Args:
        turn: The turn, from 1.
        others: The systems that are measured beside this library's own yardsticks.
    """
    tuned = tuple(other.tune() for other in others)
    groups = [
        *_drains(others, tuned),
        *_batches(tuned),
        *_latenesses(others, tuned),
        *_publishing(tuned),
        [_memory(system) for system in (OURS, PACKAGE, *others)],
        [_imports(others)],
    ]
    if turn == 1:
        # Once, for it takes long and does not vary.
        groups += _idling(others, tuned)
    backwards = turn % 2 == 0
    return [step for group in groups for step in (reversed(group) if backwards else group)]


# --- throughput


def _drain(scenario: str, system: System, count: int, *, seconds: float = 10, **how: int) -> Step:
    return Step(
        scenario, system.label, seconds, lambda bench: drain(bench, scenario, system, count, **how)
    )


def _drains(others: tuple[System, ...], tuned: tuple[System, ...]) -> list[list[Step]]:
    alone = Step(names.DRAIN_100, names.ALONE, 3, consume_alone)
    return [
        [
            _drain(names.DRAIN, OURS, 10_000, seconds=4),
            _drain(names.DRAIN, PACKAGE, 500, seconds=7),
            _drain(names.DRAIN, LIST, 10_000),
            _drain(names.DRAIN, TUNED, 5000),
            # docket's default takes a minute for as many as these.
            *(_drain(names.DRAIN, other, 2500, seconds=20) for other in others),
        ],
        [
            _drain(names.DRAIN_100, OURS, 20_000, seconds=5, concurrency=100),
            alone,
            _drain(names.DRAIN_100, PACKAGE, 10_000, concurrency=100),
            _drain(names.DRAIN_100, TUNED, 10_000, concurrency=100),
            _drain(names.DRAIN_100, LIST, 10_000, concurrency=100),
            *(_drain(names.DRAIN_100, each, 10_000, seconds=15, concurrency=100) for each in tuned),
        ],
        [
            _drain(names.DRAIN_TWO, OURS, 60_000, concurrency=100, workers=2),
            _drain(names.DRAIN_ONE, OURS, 60_000, concurrency=100),
            _drain(
                names.DRAIN_MILLION, OURS, 60_000, seconds=40, concurrency=100, others=1_000_000
            ),
        ],
    ]


def _batch(
    system: System, label: str, count: int, concurrency: int | None, batch: str | None = None
) -> Step:
    return Step(
        names.BATCHES,
        label,
        8,
        lambda bench: drain_in_batches(bench, system, label, count, concurrency, batch),
    )


def _batches(tuned: tuple[System, ...]) -> list[list[Step]]:
    return [
        [
            _batch(OURS, names.ONE_BY_ONE, 20_000, 100),
            _batch(OURS, names.OF_DICTS, 100_000, None, "dicts"),
            _batch(OURS, names.OF_MODELS, 100_000, None, "models"),
            _batch(OURS, names.TWO_IN_HAND, 100_000, 2, "dicts"),
            _batch(LIST, f"{LIST.label}, batch=True", 100_000, None, "dicts"),
            *(
                _batch(each, each.label, 10_000, 100)
                for each in tuned
                if each.name in {"arq", "saq", "huey"}
            ),
        ],
        [
            Step(
                names.BATCHES_LATE,
                names.OF_DICTS,
                15,
                lambda bench: batches_at_a_rate(bench, OURS),
            )
        ],
    ]


def _publish(scenario: str, system: System, at_once: int, *, batch: bool = False) -> Step:
    return Step(
        scenario,
        system.label,
        4,
        lambda bench: publish(bench, scenario, system, at_once, batch=batch),
    )


def _publishing(tuned: tuple[System, ...]) -> list[list[Step]]:
    return [
        [_publish(names.PUBLISH, each, 1) for each in (OURS, PACKAGE, LIST, *tuned)],
        [
            _publish(names.PUBLISH_50, each, 50)
            # Celery has nothing to await.
            for each in (OURS, PACKAGE, LIST, *(each for each in tuned if each.name != "celery"))
        ],
        [
            _publish(names.BATCH, each, 100, batch=True)
            for each in (OURS, *(each for each in tuned if each.name == "streaq"))
        ],
        [Step(names.BLOCKING, OURS.label, 5, blocking)],
    ]


# --- lateness


def _late_idle(scenario: str, system: System, delay: float) -> Step:
    # 0.5.4, tuned, and FastStream's list poll so often that a hundred topics would slow
    # them down; the others have one queue anyway.
    topics = MANY_TOPICS if system in {OURS, PACKAGE} else TOPIC
    return Step(
        scenario,
        system.label,
        25,
        lambda bench: lateness_when_idle(bench, scenario, system, delay, topics),
    )


def _late_load(system: System) -> Step:
    return Step(
        names.LATE_LOAD,
        system.label,
        35 if system is PACKAGE else 20,
        lambda bench: lateness_under_load(bench, system),
    )


def _latenesses(others: tuple[System, ...], tuned: tuple[System, ...]) -> list[list[Step]]:
    return [
        [
            _late_idle(names.LATE_IDLE, each, 1.0)
            for each in dict.fromkeys((OURS, PACKAGE, TUNED, *others, *tuned))
        ],
        [_late_idle(names.LATE_NOW, each, 0.0) for each in (OURS, PACKAGE, LIST, TUNED, *tuned)],
        [_late_load(each) for each in (OURS, PACKAGE, TUNED, *tuned)],
    ]


# --- cost


def _memory(system: System) -> Step:
    return Step(names.MEMORY, system.label, 5, lambda bench: memory(bench, system))


def _idling(others: tuple[System, ...], tuned: tuple[System, ...]) -> list[list[Step]]:
    yardsticks = [
        Watched(names.IDLE, OURS),
        Watched(names.IDLE_TEN, OURS, subscribers=10),
        Watched(names.IDLE, PACKAGE),
        Watched(names.IDLE, LIST),
    ]
    steps = [Step(names.IDLE, "all at once", 140, lambda bench: idle(bench, yardsticks))]
    if others:
        watched = [Watched(names.IDLE, each) for each in dict.fromkeys((TUNED, *others, *tuned))]
        steps.append(Step(names.IDLE, "the others", 145, lambda bench: idle(bench, watched)))
    return [steps]


def _imports(others: tuple[System, ...]) -> Step:
    imported = [
        Imported(OURS, names.REDIS, "import redis"),
        Imported(
            OURS, names.BLOCKING_CLIENT, "from faststream_redis_timers_sync import TimersClient"
        ),
        Imported(OURS, names.FASTSTREAM, "import faststream"),
        Imported(OURS, names.BROKER, "from faststream_redis_timers import TimersBroker"),
        *(Imported(each, each.name, each.statement) for each in (PACKAGE, *others)),
    ]
    return Step(
        names.IMPORT, "all in turns", 2.0 * len(imported), lambda bench: imports(bench, imported)
    )
