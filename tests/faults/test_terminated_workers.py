"""Workers that are terminated at each stage of a claim: no timer waits for the end of a lease."""

import random
import signal
import threading

import pytest
from fleet import Fleet
from relay import Relay
from servers import START
from waiting import wait_until

from faststream_redis_timers_sync import TimerPublishMessage
from faststream_redis_timers_sync.protocol.times import is_lease

OPTIONS = {"lease_ttl": 300.0, "max_concurrent": 3, "max_polling_interval": 0.05}
IDS = ["0", "1", "2"]
BODIES = ["", "work 0.01"]


class Barrier(threading.Event):
    """A relay's event that tells how many wait for it."""

    waiting = 0

    def wait(self, timeout=None):
        if not self.is_set():
            self.waiting += 1
        return super().wait(timeout)

    def clear(self):
        self.waiting = 0
        super().clear()


class Stage:
    """A worker whose calls a relay holds back, and the timers that it claims."""

    def __init__(self, fleet, relay, client, server):
        self.fleet = fleet
        self.relay = relay
        self.client = client
        self.server = server
        self.timeline = f"timers_timeline:{fleet.topics[0]}"
        self.dues = {}

    def start(self, **settings):
        self.worker = self.fleet.worker(options=OPTIONS, **settings)
        # From here on nothing but claims is sent while it has nothing to do.
        wait_until(lambda: self.server.client.pubsub_numsub(self.timeline)[0][1] == 1)

    def schedule(self, body=""):
        """Schedule timers; give all scores as they were before anybody could claim."""
        messages = [TimerPublishMessage(body, timer_id=timer_id) for timer_id in IDS]
        with self.server.client.pipeline() as pipeline:
            self.client.schedule_batch(messages, self.fleet.topics[0], pipeline=pipeline)
            pipeline.zrange(self.timeline, 0, -1, withscores=True)
            scores = pipeline.execute()[-1]
        for timer_id in IDS:
            self.fleet.journal.note("accepted", id=timer_id)
        return dict(scores)

    def hold_a_claim(self):
        """Let the worker send a claim that does not arrive, and schedule timers for it."""
        self.relay.requests_flow.clear()
        wait_until(lambda: self.relay.requests_flow.waiting)
        self.dues = self.schedule()

    def noted(self, what):
        return sorted(fact["id"] for fact in self.fleet.noted(what))

    def scores(self):
        return dict(self.server.client.zrange(self.timeline, 0, -1, withscores=True))

    def leased(self):
        return [timer_id for timer_id, score in self.scores().items() if is_lease(score)]

    def terminate(self):
        """Ask the worker to end, and wait until it knows."""
        self.worker.send_signal(signal.SIGTERM)
        self.fleet.until_said(self.worker, "shutting down")

    # --- where it is when it is asked to end

    def before_the_claim_is_sent(self):
        self.start()
        # As long as its handler is at work the worker is there, and could claim.
        self.fleet.schedule(self.client, "at work", "gate")
        self.fleet.until_begun("at work")
        self.terminate()
        self.dues = self.schedule()
        self.fleet.open_gate()
        del self.dues[b"at work"]

    def claim_in_flight(self):
        self.start()
        self.hold_a_claim()
        self.terminate()
        self.relay.resume()

    def reply_on_its_way(self):
        self.start()
        self.hold_a_claim()
        self.relay.replies_flow.clear()
        self.relay.requests_flow.set()
        wait_until(lambda: len(self.leased()) == 3)
        self.terminate()
        self.relay.resume()

    def handlers_starting(self):
        self.start(porch=True)
        self.schedule()
        wait_until(lambda: self.noted("on the porch") == IDS)
        self.terminate()
        self.fleet.open_gate()

    def handlers_starting_that_do_not_get_on(self):
        self.start(porch=True, graceful_timeout=0.1)
        self.relay.requests_flow.clear()
        wait_until(lambda: self.relay.requests_flow.waiting)
        self.dues = self.schedule()
        self.relay.resume()
        wait_until(lambda: self.noted("on the porch") == IDS)
        self.terminate()

    def handlers_running(self):
        self.start()
        self.schedule("gate")
        self.fleet.until_begun(*IDS)
        self.terminate()
        self.fleet.open_gate()

    def handlers_running_too_long(self):
        self.start(graceful_timeout=0.1)
        self.hold_a_claim()
        self.client.cancel_all(self.fleet.topics[0])
        self.dues = self.schedule("gate")
        self.relay.resume()
        self.fleet.until_begun(*IDS)
        self.terminate()

    def commit_in_flight(self):
        self.start()
        self.schedule("gate")
        self.fleet.until_begun(*IDS)
        self.relay.requests_flow.clear()
        self.fleet.open_gate()
        wait_until(lambda: self.relay.requests_flow.waiting)
        self.terminate()
        self.relay.resume()

    def reply_to_a_commit_on_its_way(self):
        self.start()
        self.schedule("gate")
        self.fleet.until_begun(*IDS)
        self.relay.hold_replies()
        self.fleet.open_gate()
        wait_until(lambda: len(self.scores()) < 3)
        self.terminate()
        self.relay.resume()


STAGES = [
    name
    for name, member in vars(Stage).items()
    if name.startswith(("before", "claim", "reply", "handlers", "commit_"))
]


@pytest.fixture
def relay(server):
    with Relay(server.url) as relay:
        relay.requests_flow, relay.replies_flow = Barrier(), Barrier()
        relay.resume()
        yield relay


@pytest.fixture
def fleet(relay, tmp_path):
    fleet = Fleet(tmp_path, relay.url)
    yield fleet
    fleet.close()


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_leased_by_a_worker_terminated_at(fleet, relay, client, server, record, stage):
    at = Stage(fleet, relay, client, server)
    getattr(at, stage)()
    fleet.until_ended(at.worker)
    if stage in {"claim_in_flight", "reply_on_its_way"}:
        assert any(b"release" in command for command in relay.commands)
    # What it had not finished is due as before.
    assert at.scores() == at.dues
    if at.dues:
        fleet.open_gate()
        fleet.worker(options=OPTIONS)
        fleet.until_empty(client)

    ledger = fleet.ledger()
    ledger.check()
    record(ledger.row(f"SIGTERM: {stage.replace('_', ' ')}", 1))


def test_nothing_is_leased_by_workers_terminated_at_any_moment(fleet, client, record):
    dice = random.Random(7)
    workers = [fleet.worker(options=OPTIONS) for _ in range(4)]
    producer = fleet.producer("p", front="blocking", pause=0.005, bodies=BODIES)
    for worker in workers:
        begun = len(fleet.noted("begun")) + dice.randrange(20, 50)
        wait_until(lambda begun=begun: len(fleet.noted("begun")) >= begun, START)
        fleet.terminate(worker)
    fleet.terminate(producer)
    fleet.worker(options=OPTIONS)
    # Leases are longer than this waits.
    fleet.until_empty(client)

    ledger = fleet.ledger()
    ledger.check()
    record(ledger.row("SIGTERM at any moment", len(workers)))
