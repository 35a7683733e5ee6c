"""Fleets of which a few workers are on duty, and what befalls these: no timer is lost or late."""

import signal

import pytest
from relay import Relay
from servers import START
from waiting import wait_until

from faststream_redis_timers_sync.protocol.keys import KeySpace

DUTY = 3
WORKERS = 10
"""All are on duty in fleets of up to 8."""

OPTIONS = {"max_concurrent": 3, "lease_ttl": 300.0, "duty": DUTY}
ALL_ON_DUTY = {**OPTIONS, "duty": None}
"""What workers do that know no duty: they answer every wake-up, and are not counted as a fleet."""

MEMORY = 2.0
"""Seconds for which workers do not count on those who were not there. On a busy machine they take
slow ones for such too."""

LATEST = 1.5 * 5.0 + 1.0
"""Seconds that a timer may be late: the longest pause between two polls, and one to claim."""


class Crowd:
    """A fleet that delivers one timer after the other.

    Args:
        fleet: Its processes.
        client: Schedules timers.
        server: The server.
    """

    def __init__(self, fleet, client, server):
        self.fleet = fleet
        self.client = client
        self.server = server
        self.channel = KeySpace().channel_of(fleet.topics[0])
        self.scheduled = 0

    def start(self, count=WORKERS, **settings):
        """Start workers, one after the other, and give them."""
        settings = {"options": OPTIONS, "memory": MEMORY, **settings}
        return [self.fleet.worker(**settings) for _ in range(count)]

    def count_on_duty(self):
        """Tell how many are on duty, as the server counts them."""
        # By a message that says nothing: Valkey 9.1 may answer NUMSUB with an address.
        return self.server.client.publish(self.channel, "")

    def deliver(self):
        """Let a timer be due, wait until it is committed, and return its worker's process id."""
        self.scheduled += 1
        timer_id = f"{self.scheduled}"
        self.fleet.schedule(self.client, timer_id)
        wait_until(lambda: self.fleet.noted("committed", id=timer_id), START)
        return self.fleet.noted("committed", id=timer_id)[-1]["pid"]

    def deliver_until(self, predicate):
        """Let timers be due, one after the other, until the predicate holds."""

        def holds():
            self.deliver()
            return predicate()

        wait_until(holds, 2 * START)

    def is_joined(self):
        """Let timers be due, and return whether somebody goes on duty for them.

        Those who are not there are counted all the time: where more are, somebody else is on duty.
        """
        for _ in range(8):
            self.deliver()
            if self.count_on_duty() > DUTY:
                return True
        return False

    def thin_out(self, ghosts=0):
        """Let timers be due until no more are on duty than are to be, beside who is not there."""
        self.deliver_until(lambda: self.count_on_duty() <= DUTY + ghosts)

    def check(self, *, is_once=True):
        """Check that no timer was lost or too late, and give the ledger."""
        self.fleet.until_empty(self.client)
        ledger = self.fleet.ledger()
        ledger.check()
        for runs in ledger.deliveries.values():
            assert len(runs) == 1 or not is_once
            assert max(run.lateness for run in runs) <= LATEST
        return ledger


@pytest.fixture
def crowd(fleet, client, server):
    return Crowd(fleet, client, server)


def test_those_on_duty_are_killed_one_after_the_other(crowd, record):
    workers = {worker.pid: worker for worker in crowd.start()}
    crowd.thin_out()
    for _ in range(5):
        crowd.fleet.kill(workers.pop(crowd.deliver()))
        crowd.deliver()
        (new,) = crowd.start(1)
        workers[new.pid] = new
    crowd.thin_out()
    crowd.deliver_until(lambda: crowd.count_on_duty() > 0)

    record(crowd.check().row("worker on duty killed (SIGKILL)", 5))


def test_all_on_duty_are_stopped_and_continued(crowd, record):
    workers = {worker.pid: worker for worker in crowd.start()}
    crowd.thin_out()
    # Mostly it is one on duty that delivers. It has nothing to do until the next timer is there.
    # On a busy machine a poll of the reserve is quicker now and then, and one on duty is left, who
    # delivers all that follow.
    stopped = []
    while len(stopped) < DUTY or not crowd.is_joined():
        stopped.append(workers[crowd.deliver()])
        stopped[-1].send_signal(signal.SIGSTOP)
    crowd.thin_out(ghosts=DUTY)
    for worker in stopped:
        worker.send_signal(signal.SIGCONT)
    crowd.thin_out()

    record(crowd.check().row("all workers on duty stopped (SIGSTOP)", 1))


@pytest.mark.parametrize("before", [OPTIONS, ALL_ON_DUTY], ids=["restart", "upgrade"])
def test_workers_are_replaced_one_after_the_other(crowd, record, before):
    workers = crowd.start(options=before)
    producer = crowd.fleet.producer("p", front="blocking", pause=0.01, bodies=["", "work 0.01"])
    for worker in workers:
        crowd.fleet.terminate(worker)
        crowd.start(1)
    crowd.fleet.terminate(producer)
    crowd.thin_out()

    how = "restarted" if before is OPTIONS else "that know no duty replaced"
    record(crowd.check().row(f"workers {how}, one after the other", len(workers)))


def test_connections_of_those_on_duty_are_half_open(crowd, server, record):
    with Relay(server.url) as relay:
        crowd.start(8, target=relay.url)
        (near,) = crowd.start(1)
        crowd.thin_out()
        relay.swallow("SUBSCRIBE")
        # It is the only one that can be heard to go on duty.
        before = crowd.count_on_duty()
        crowd.deliver_until(lambda: crowd.count_on_duty() > before)
        crowd.deliver_until(lambda: crowd.deliver() == near.pid)

    record(crowd.check().row("connections for wake-ups half open", 1))
