"""Servers that are killed, restarted, and made to forget the scripts, while there is work."""

import time

import pytest
from servers import START, Server, short_folder
from waiting import wait_until

from faststream_redis_timers_sync.protocol.operation import load_script

BACK = 2.0
"""Seconds after which work goes on, beside those in which the machine stalls."""
OPTIONS = {"lease_ttl": 1.0, "max_concurrent": 10}
BODIES = ["work 0.02", "plain"]
SCRIPTS = [load_script(name).sha.decode() for name in ("schedule", "settle_and_claim")]


def start_all(fleet, count=None):
    for _ in range(2):
        fleet.worker(options=OPTIONS)
    return [
        fleet.producer(front, front=front, count=count, bodies=BODIES)
        for front in ("blocking", "async")
    ]


def until_more(fleet, what, count):
    before = len(fleet.noted(what))
    wait_until(lambda: len(fleet.noted(what)) >= before + count, START)


def until_back(fleet, answered_at):
    """Wait until a timer is delivered; return how long that took."""
    wait_until(lambda: fleet.journal.read("begun")[-1]["at"] > answered_at)
    return (
        next(fact["at"] for fact in fleet.noted("begun") if fact["at"] > answered_at) - answered_at
    )


def finish(fleet, client, producers):
    for producer in producers:
        fleet.terminate(producer)
    fleet.until_empty(client)
    ledger = fleet.ledger()
    ledger.check()
    return ledger


def test_a_killed_server_is_found_again_with_all_that_it_had_answered(
    fleet, server, client, record, stalls
):
    producers = start_all(fleet)
    for _ in range(3):
        until_more(fleet, "begun", 50)
        server.kill()
        # Producers try on and on; so do the workers, more and more seldom.
        until_more(fleet, "refused", 80)
        server.start()
        assert until_back(fleet, time.monotonic()) <= BACK + stalls.longest

    ledger = finish(fleet, client, producers)
    record(ledger.row("server killed and restarted (AOF)", 3))


class TestSavedServer:
    """A server that keeps what it has in a snapshot."""

    @pytest.fixture
    def server(self):
        with short_folder() as folder:
            server = Server(folder, appendonly="no", save="3600 1").start()
            yield server
            server.close()

    def test_one_that_comes_back_without_scripts_is_given_them(
        self, fleet, server, client, record, stalls
    ):
        producers = start_all(fleet)
        for _ in range(3):
            until_more(fleet, "begun", 30)
            assert server.client.script_exists(*SCRIPTS) == [True, True]
            server.save_and_end()
            server.start()
            assert until_back(fleet, time.monotonic()) <= BACK + stalls.longest

        ledger = finish(fleet, client, producers)
        record(ledger.row("server saved and restarted, empty of scripts", 3))


def test_scripts_flushed_in_mid_flight_disturb_nobody(fleet, server, client, record):
    producers = start_all(fleet, 120)
    flushed = 0
    while any(producer.poll() is None for producer in producers):
        server.client.script_flush()
        flushed += 1
        # As soon as somebody has brought one again.
        wait_until(
            lambda: (
                any(server.client.script_exists(*SCRIPTS))
                or all(producer.poll() is not None for producer in producers)
            )
        )

    ledger = finish(fleet, client, producers)
    assert flushed > 50
    assert ledger.again() == []
    assert fleet.noted("unknown") == fleet.noted("refused") == []
    record(ledger.row("SCRIPT FLUSH in mid-flight", flushed))
