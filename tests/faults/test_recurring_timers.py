"""Recurring timers whose workers are killed, or do not know their time zones.

``RECURRING_SECONDS=60`` lets the killing last for a minute.
"""

import os
import signal
import time
from datetime import timedelta

from fleet import FOLDER, TESTS
from series_ledger import SeriesLedger
from waiting import wait_until

from faststream_redis_timers_sync import Cron
from faststream_redis_timers_sync.protocol.times import time_of

SECONDS = float(os.environ.get("RECURRING_SECONDS", "15"))
COUNT = 50
OPTIONS = {"lease_ttl": 1.0, "max_concurrent": 10}
TOPIC = "invoices"
BETWEEN_KILLS = 1.0


def open_runs(fleet, worker):
    """Give the handlers of a worker that have begun and not ended."""
    ended = {(fact["id"], fact["lease"]) for fact in fleet.noted("done", pid=worker.pid)}
    begun = fleet.noted("begun", pid=worker.pid)
    return [run for run in begun if (run["id"], run["lease"]) not in ended]


def stop_amid_a_run(fleet, worker):
    """Stop a worker in the middle of an occurrence."""

    def is_amid_a_run():
        if not open_runs(fleet, worker):
            return False
        worker.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, worker.pid, os.WSTOPPED | os.WNOWAIT)
        # On a busy machine the run may have ended before the signal came.
        if open_runs(fleet, worker):
            return True
        worker.send_signal(signal.SIGCONT)
        return False

    wait_until(is_amid_a_run, 30)


def test_killed_workers_leave_no_time_without_a_run_and_none_with_two(fleet, server, client):
    workers = [fleet.worker(options=OPTIONS) for _ in range(3)]
    series = SeriesLedger(client, TOPIC, COUNT)
    killed = set()
    until = time.monotonic() + SECONDS
    while (now := time.monotonic()) < until:
        victim = workers.pop(0)
        stop_amid_a_run(fleet, victim)
        fleet.kill(victim)
        killed.add(victim.pid)
        workers.append(fleet.worker(options=OPTIONS, wait=False))
        time.sleep(max(0.0, now + BETWEEN_KILLS - time.monotonic()))
    over_at = time.time()
    wait_until(lambda: series.have_run_since(fleet.journal.read(), over_at), 60)
    for worker in workers:
        fleet.terminate(worker)

    runs = series.check(fleet.journal.read())
    cut_short = [run for some in runs.values() for run in some if run.end is None]
    assert {run.begun["pid"] for run in cut_short} == killed
    pending = {timer.timer_id: timer for timer in client.iter_timers(TOPIC)}
    assert pending.keys() == series.planned.keys()
    for timer_id, timer in pending.items():
        last = max(runs[timer_id], key=lambda run: run.claimed_at)
        assert timer.due_at == series.planned[timer_id].repeat.after(last.claimed_at)
    series.cancel()
    assert server.client.keys() == []


def without_zones(folder):
    """Give the environment of a worker that knows no time zones: as on a slim image."""
    hidden = folder / "hidden" / "tzdata"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").touch()
    path = (hidden.parent, TESTS.parent, TESTS, FOLDER)
    return {"PYTHONTZPATH": "", "PYTHONPATH": os.pathsep.join(map(str, path))}


def test_one_worker_of_two_does_not_know_the_zone(fleet, server, client, tmp_path):
    ignorant = fleet.worker(options=OPTIONS, env=without_zones(tmp_path))
    minutely = Cron("* * * * *", tz="Europe/Berlin")
    client.schedule("plain", TOPIC, timer_id="minutely", repeat=minutely)
    client.reschedule_timer(TOPIC, "minutely", activate_in=timedelta(0))
    fleet.until_said(ignorant, "can't be run by this worker")
    timer = client.get_timer(TOPIC, "minutely")
    assert timer.running
    fleet.schedule(client, "one-shot", "plain")
    fleet.until_begun("one-shot")

    knowing = fleet.worker(options=OPTIONS)
    fleet.until_begun("minutely")

    (run,) = fleet.noted("begun", id="minutely")
    assert run["pid"] == knowing.pid
    due = minutely.after(time_of(run["claimed_at"]))
    wait_until(lambda: client.get_timer(TOPIC, "minutely").due_at == due)
    said = fleet.output_of(ignorant)
    assert said.count("can't be run by this worker") == 1
    assert "'Europe/Berlin'" in said
    assert "pip install tzdata" in said
    fleet.terminate(ignorant)
    fleet.terminate(knowing)
    client.cancel_timer(TOPIC, "minutely")
    assert server.client.keys() == []
