"""Workers killed with SIGKILL again and again, and restarted: each timer is delivered."""

import time

LEASE = 1.0
OPTIONS = {"lease_ttl": LEASE, "max_concurrent": 10}
LATE = 1.0
"""Seconds after its due time, or after the end of its lease, in which a timer is claimed, beside
those in which the machine stalls."""


def test_what_killed_workers_had_leased_is_redelivered_a_lease_and_a_second_later(
    fleet, client, record, stalls
):
    workers = [fleet.worker(options=OPTIONS) for _ in range(3)]
    producers = [
        fleet.producer(front, front=front, count=150, pause=0.015, bodies=["work 0.05", "plain"])
        for front in ("blocking", "async")
    ]
    kills = {}
    # One after the other, so that others are at work.
    while any(producer.poll() is None for producer in producers):
        victim = workers.pop(0)
        fleet.kill(victim)
        kills[victim.pid] = time.monotonic()
        workers.append(fleet.worker(options=OPTIONS))
    fleet.until_produced(*producers)
    # On a slow machine those may have been killed while they had nothing: this one has not.
    fleet.schedule(client, "held", "gate")
    fleet.until_begun("held")
    (begun,) = fleet.noted("begun", id="held")
    (victim,) = [worker for worker in workers if worker.pid == begun["pid"]]
    fleet.kill(victim)
    kills[victim.pid] = time.monotonic()
    fleet.open_gate()
    fleet.until_empty(client)

    ledger = fleet.ledger()
    ledger.check()
    record(ledger.row("worker killed (SIGKILL) and restarted", len(kills)))
    late = LATE + stalls.longest
    cut_short = 0
    for runs in ledger.deliveries.values():
        for run, following in zip(runs, [*runs[1:], None], strict=True):
            assert run.lateness <= late
            killed_at = kills.get(run.begun["pid"])
            if run.end is None:
                cut_short += 1
                assert killed_at is not None
                assert following is not None
                assert following.at <= killed_at + LEASE + late
    assert cut_short > 0
