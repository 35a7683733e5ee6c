"""Recurring timers whose workers are killed, or do not know their time zones.

``RECURRING_SECONDS=60`` lets the killing last for a minute.
"""

import os
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from fleet import FOLDER, TESTS
from waiting import wait_until

from faststream_redis_timers_sync import Cron, Every
from faststream_redis_timers_sync.protocol.times import is_lease, time_of

SECONDS = float(os.environ.get("RECURRING_SECONDS", "15"))
COUNT = 50
LEASE = 1.0
KNOBS = {"lease_ttl": LEASE, "max_concurrent": 10}
TOPIC = "invoices"
BETWEEN_KILLS = 1.0


def definition_of(number):
    """Give each another time within its period."""
    start = datetime(2026, 1, 1, tzinfo=UTC) + number * timedelta(milliseconds=37)
    return Every(seconds=2, start=start)


class Runs:
    """What became of the handlers that began, in the order of their claims."""

    def __init__(self, fleet):
        self.by_series = defaultdict(list)
        self.ends = {}
        for fact in fleet.journal.read():
            if fact["what"] == "begun":
                self.by_series[fact["id"]].append(fact)
            elif fact["what"] in {"done", "committed", "fenced"}:
                self.ends[fact["id"], fact["lease"]] = fact["what"]
        for runs in self.by_series.values():
            runs.sort(key=lambda run: run["claimed_at"])

    def end_of(self, run):
        """Tell how a run ended: None where its worker was killed before."""
        return self.ends.get((run["id"], run["lease"]))


def open_runs(fleet, worker):
    """Give the handlers of a worker that have begun and not ended."""
    ended = {(fact["id"], fact["lease"]) for fact in fleet.noted("done", pid=worker.pid)}
    begun = fleet.noted("begun", pid=worker.pid)
    return [run for run in begun if (run["id"], run["lease"]) not in ended]


def test_killed_workers_leave_no_time_without_a_run_and_none_with_two(
    fleet, server, client, record
):
    workers = [fleet.worker(knobs=KNOBS) for _ in range(3)]
    definitions = {f"series-{number}": definition_of(number) for number in range(COUNT)}
    for timer_id, repeat in definitions.items():
        client.schedule("work 0.2", TOPIC, timer_id=timer_id, repeat=repeat)
    first = {timer.timer_id: timer.due_at for timer in client.iter_timers(TOPIC)}
    killed = set()
    until = time.monotonic() + SECONDS
    while (now := time.monotonic()) < until:
        victim = workers.pop(0)
        # In the middle of an occurrence.
        wait_until(lambda victim=victim: open_runs(fleet, victim), 30)
        fleet.kill(victim)
        killed.add(victim.pid)
        workers.append(fleet.worker(knobs=KNOBS, wait=False))
        time.sleep(max(0.0, now + BETWEEN_KILLS - time.monotonic()))
    over_at = datetime.now(UTC)

    def have_all_run():
        noted = fleet.noted("committed")
        done = {(fact["id"], fact["lease"]) for fact in noted}
        late = {
            run["id"]
            for run in fleet.noted("begun")
            if (run["id"], run["lease"]) in done and run["claimed_at"] >= over_at.timestamp()
        }
        return late == definitions.keys()

    wait_until(have_all_run, 60)
    for worker in workers:
        fleet.terminate(worker)

    runs = Runs(fleet)
    cut_short = sum(
        runs.end_of(run) is None for series in runs.by_series.values() for run in series
    )
    assert cut_short >= len(killed)
    for timer_id, repeat in definitions.items():
        check_series(repeat, first[timer_id], runs.by_series[timer_id], runs, killed)

    timers = {timer.timer_id: timer for timer in client.iter_timers(TOPIC)}
    assert timers.keys() == definitions.keys()
    for timer_id, timer in timers.items():
        assert not timer.running
        last = runs.by_series[timer_id][-1]
        assert timer.due_at == definitions[timer_id].after(time_of(last["claimed_at"]))
    assert client.cancel_all(TOPIC) == COUNT
    assert server.client.keys() == []


def check_series(repeat, first, runs, told, killed):
    """Check that each time of a series was followed by a run, and each run by the next time."""
    due = first
    for run, following in zip(runs, [*runs[1:], None], strict=True):
        claimed_at, score = time_of(run["claimed_at"]), run["score"]
        if is_lease(score):
            # Somebody was killed who had it.
            assert run["redelivered"]
            assert time_of(score) > due
        else:
            assert time_of(score) == due
        assert claimed_at >= time_of(score)
        assert time_of(run["occurrence"]) == repeat.at_or_before(claimed_at) >= due
        if told.end_of(run) is None:
            assert run["pid"] in killed
            assert following is not None
        if following is not None and is_lease(following["score"]):
            # That it was settled is only known of those who told it.
            if told.end_of(run) == "committed":
                due = repeat.after(claimed_at)
        else:
            due = repeat.after(claimed_at)
    committed = [run["occurrence"] for run in runs if told.end_of(run) == "committed"]
    assert all(one < other for one, other in pairwise(committed))


def without_zones(folder):
    """Give the environment of a worker that knows no time zones: as on a slim image."""
    hidden = folder / "hidden" / "tzdata"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").touch()
    path = (hidden.parent, TESTS.parent, TESTS, FOLDER)
    return {"PYTHONTZPATH": "", "PYTHONPATH": os.pathsep.join(map(str, path))}


def test_one_worker_of_two_does_not_know_the_zone(fleet, server, client, tmp_path):
    ignorant = fleet.worker(knobs=KNOBS, env=without_zones(tmp_path))
    minutely = Cron("* * * * *", tz="Europe/Berlin")
    client.schedule("plain", TOPIC, timer_id="minutely", repeat=minutely)
    client.reschedule_timer(TOPIC, "minutely", activate_in=timedelta(0))
    fleet.until_said(ignorant, "can't be run by this worker")
    timer = client.get_timer(TOPIC, "minutely")
    assert timer.running
    fleet.schedule(client, "one-shot", "plain")
    fleet.until_begun("one-shot")

    knowing = fleet.worker(knobs=KNOBS)
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
