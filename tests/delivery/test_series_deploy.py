"""A deploy of an application that declares series: processes of two versions, side by side."""

import signal
import threading

import pytest
from waiting import wait_until

from faststream_redis_timers_sync import Every, Series

# No time of these comes while a test runs.
WEEK = 604_800
MONTH = 30 * 86_400

OLD = {"stays": (WEEK, "x"), "changes": (WEEK, "x"), "goes": (WEEK, "x"), "runs": (1, "x")}
NEW = {"stays": (WEEK, "new"), "changes": (MONTH, "x"), "comes": (WEEK, "x"), "runs": (1, "new")}


def declared(series):
    return [
        Series(body, "invoices", timer_id=timer_id, repeat=Every(seconds=period))
        for timer_id, (period, body) in series.items()
    ]


def test_three_workers_start_with_the_same_then_with_changed_definitions(process_bench, workers):
    bench = process_bench
    old = workers.start(3, series=OLD)
    # Of three that start at once one creates each of them.
    assert len(workers.lines_about(old, "was created")) == len(OLD)
    assert workers.lines_about(old, "was changed") == []
    due = {timer_id: bench.score(timer_id) for timer_id in OLD}
    assert len(workers.start(1, series=OLD)) == 1
    assert bench.score("stays") == due["stays"]
    assert bench.score("changes") == due["changes"]

    new = workers.start(3, series=NEW)

    assert bench.score("stays") == due["stays"]
    assert bench.client.get_timer("invoices", "stays").decode() == "new"
    timer = bench.client.get_timer("invoices", "changes")
    assert timer.repeat == Every(days=30)
    assert timer.due_at.timestamp() % MONTH == 0
    (changed,) = workers.lines_about(new, "was changed")
    assert "series 'changes' of topic 'invoices' was changed: every 30d" in changed
    (created,) = workers.lines_about(new, "was created")
    assert "series 'comes' of topic 'invoices' was created" in created
    # Each start says what nobody declares any longer, and lets it be.
    gone = workers.lines_about(new, "is no longer declared by 'shop' but still runs")
    assert ["'goes'" in line for line in gone] == [True] * 3
    assert bench.score("goes") == due["goes"]
    assert bench.score("comes") % WEEK == 0
    for process in [*old, *new]:
        assert "Traceback" not in workers.output_of(process)


def test_the_last_step_of_a_deploy_prunes_what_has_gone(process_bench, workers):
    bench = process_bench
    old = workers.start(2, series=OLD)
    workers.start(2, series=NEW)
    for process in old:
        process.send_signal(signal.SIGTERM)
        process.wait(20)

    pruned = bench.client.ensure_series(declared(NEW), owner="shop", prune=True)

    assert pruned.removed == [("invoices", "goes")]
    assert (pruned.created, pruned.changed) == ([], [])
    assert sorted(bench.client.get_pending_timers("invoices")) == sorted(NEW)


def test_an_old_worker_that_starts_again_cancels_nothing_of_the_new_version(process_bench, workers):
    bench = process_bench
    workers.start(1, series=OLD)
    workers.start(1, series=NEW)
    due = bench.score("comes")

    (again,) = workers.start(1, series=OLD)

    assert bench.score("comes") == due
    (line,) = workers.lines_about([again], "no longer declared")
    assert "'comes'" in line
    # What both declare has the definition of the worker that started last.
    assert bench.client.get_timer("invoices", "changes").repeat == Every(weeks=1)
    workers.start(1, series=NEW)
    assert bench.client.get_timer("invoices", "changes").repeat == Every(days=30)


def test_a_series_runs_on_while_versions_change(process_bench, workers):
    bench = process_bench

    def begun():
        return [timer_id for timer_id, _, _ in workers.noted("begun")]

    for series in (OLD, NEW, OLD, NEW):
        workers.start(1, series=series)
        before = begun().count("runs")
        wait_until(lambda: begun().count("runs") >= before + 2)  # noqa: B023  called at once

    assert bench.client.get_timer("invoices", "runs").repeat == Every(seconds=1)
    assert set(begun()) == {"runs"}
    assert not any(redelivered for _, redelivered, _ in workers.noted("begun"))


def test_a_start_leaves_a_running_occurrence_alone(process_bench, workers):
    bench = process_bench
    body = "wait for the gate"
    workers.start(1, series={"a": (1, body)}, lease_ttl=30.0)
    wait_until(lambda: workers.noted("begun"))
    lease = bench.score("a")
    assert bench.is_leased("a")

    workers.start(2, series={"a": (1, body)}, lease_ttl=30.0)

    assert bench.score("a") == lease
    assert len(workers.noted("begun")) == 1
    workers.open_gate()
    wait_until(lambda: len(workers.noted("ended")) >= 2)


def test_a_cancelled_one_is_created_again_by_the_next_start_and_a_paused_one_stays(
    process_bench, workers
):
    bench = process_bench
    series = {"cancelled": (WEEK, "x"), "paused": (WEEK, "x")}
    workers.start(1, series=series)
    bench.client.cancel_timer("invoices", "cancelled")
    bench.client.pause_timer("invoices", "paused")
    assert not bench.client.has_pending("invoices", "cancelled")

    (again,) = workers.start(1, series=series)

    assert bench.client.has_pending("invoices", "cancelled")
    assert bench.client.get_timer("invoices", "paused").paused
    (line,) = workers.lines_about([again], "was created")
    assert "'cancelled'" in line


@pytest.mark.parametrize("call", ["HSET", "EVALSHA", "HKEYS"])
def test_one_that_was_killed_in_the_middle_of_it_leaves_what_the_next_puts_in_order(
    process_bench, workers, relay, call
):
    bench = process_bench
    relay.lose_reply(call)
    killed = threading.Event()

    def kill():
        victim.send_signal(signal.SIGKILL)
        victim.wait(10)
        killed.set()

    relay.on_loss = kill
    (victim,) = workers.launch(url=relay.url, series=OLD)
    assert killed.wait(30)
    key = bench.home.operations.keys.series_of("shop")
    assert bench.redis.hlen(key) == len(OLD)
    # The index is written first.
    assert bench.client.count_pending("invoices") == (0 if call == "HSET" else len(OLD))

    workers.start(1, series=NEW)

    assert bench.client.ensure_series(declared(NEW), owner="shop", prune=True).created == []
    assert sorted(bench.client.get_pending_timers("invoices")) == sorted(NEW)
    assert bench.redis.hlen(key) == len(NEW)
