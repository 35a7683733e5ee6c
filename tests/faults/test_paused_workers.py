"""Workers that are paused past their leases: they finish nothing in their successors' names."""

import os
import signal

import pytest
from waiting import wait_until

from faststream_redis_timers_sync import TimerPublishMessage

OPTIONS = {"lease_ttl": 1.0, "max_concurrent": 3}


def noted_by(fleet, process, what):
    return {fact["id"] for fact in fleet.noted(what, pid=process.pid)}


@pytest.mark.parametrize("renews", [False, True], ids=["", "renewing"])
@pytest.mark.parametrize("successor_is", ["at work", "done"])
def test_a_worker_that_was_stopped_past_its_lease_is_fenced(
    fleet, client, record, successor_is, renews
):
    paused = fleet.worker(options={**OPTIONS, "renew_lease": renews})
    fleet.schedule(client, "1", "gate")
    fleet.until_begun("1")
    paused.send_signal(signal.SIGSTOP)
    successor = fleet.worker(options={**OPTIONS, "lease_ttl": 30.0})
    wait_until(lambda: noted_by(fleet, successor, "begun"))
    if successor_is == "at work":
        successor.send_signal(signal.SIGSTOP)
    fleet.open_gate()
    if successor_is == "done":
        wait_until(lambda: noted_by(fleet, successor, "committed"))
    paused.send_signal(signal.SIGCONT)
    wait_until(lambda: noted_by(fleet, paused, "fenced"))
    if successor_is == "at work":
        assert client.count_pending(fleet.topics[0]) == 1
    successor.send_signal(signal.SIGCONT)
    wait_until(lambda: noted_by(fleet, successor, "committed"))
    assert client.count_pending(fleet.topics[0]) == 0

    ledger = fleet.ledger()
    ledger.check()
    assert noted_by(fleet, paused, "committed") == set()
    how = f"successor {successor_is}{', renewing' if renews else ''}"
    record(ledger.row(f"SIGSTOP past the lease, {how}", 1))


def test_a_worker_whose_event_loop_was_blocked_past_its_lease_is_fenced(fleet, client, record):
    blocked = fleet.worker(options=OPTIONS)
    successor = fleet.worker(options={**OPTIONS, "lease_ttl": 30.0})
    successor.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, successor.pid, os.WSTOPPED | os.WNOWAIT)
    # One claim leases all; the handler of the first stops the loop before the others begin.
    bodies = {"0": "block", "1": "", "2": ""}
    client.schedule_batch(
        [TimerPublishMessage(body, timer_id=timer_id) for timer_id, body in bodies.items()],
        fleet.topics[0],
    )
    for timer_id in bodies:
        fleet.journal.note("accepted", id=timer_id)
    fleet.until_begun("0")
    successor.send_signal(signal.SIGCONT)
    wait_until(lambda: noted_by(fleet, successor, "committed") == set(bodies))
    fleet.open_gate()
    wait_until(lambda: noted_by(fleet, blocked, "fenced"))
    fleet.terminate(blocked)

    ledger = fleet.ledger()
    ledger.check()
    # No handler begins whose lease has ended.
    assert noted_by(fleet, blocked, "begun") == {"0"}
    assert noted_by(fleet, blocked, "committed") == set()
    record(ledger.row("event loop blocked past the lease", 1))
