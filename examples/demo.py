"""The demo behind `make demo`: schedule timers in two ways, and see when they fire.

It starts a server (or uses the one at REDIS_URL) and a worker, schedules timers from
blocking and from asyncio code, cancels one, reschedules one, and prints what the worker received.
Its exit code is 0 if everything worked as expected. With `--web` (`make demo WEB=1`) it shows a
shop's timers on web pages beside that, until Ctrl+C.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import redis

from examples.demo_web import SHOP_WORKER, close_shop, open_shop, serving_pages
from examples.embedded_server import deaf_to_interrupts, embedded_server
from examples.processes import end
from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient

LONGEST = 14.0
"""Seconds after which the demo gives up."""

WORKER = ("faststream", "run", "examples.demo_worker:app")

TOPIC = "reminders"
NOTES = "notes"
"""Names that the worker uses too."""


class DemoError(Exception):
    """Something expected did not happen."""


@dataclass
class Row:
    """A timer of the demo: its schedule, and the worker's notes."""

    timer_id: str
    scheduled_by: str
    due_at: datetime
    moved_from: datetime | None = None
    cancelled: bool = False
    notes: list[dict[str, Any]] = field(default_factory=list)


def main() -> int:
    """Run the demo and return the exit code."""
    shows_pages = "--web" in sys.argv[1:]
    # Others may use this server too, so the demo uses its own names.
    prefix = f"demo-{uuid4().hex[:8]}:"
    try:
        with embedded_server() as url, redis.Redis.from_url(url) as server:
            show_server(server)
            try:
                with shop_on_pages(url, prefix) if shows_pages else nullcontext() as address:
                    run(url, prefix, server)
                    if address:
                        wait_for_interrupt(address)
            finally:
                clean_up(url, prefix, server)
    except (DemoError, redis.RedisError, RuntimeError, ValueError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


@contextmanager
def shop_on_pages(url: str, prefix: str) -> Iterator[str]:
    """Run a shop with its own worker, and yield the address of the pages that show it."""
    environment = {"REDIS_URL": url, "DEMO_PREFIX": prefix}
    with TimersClient(url, prefix=prefix) as client:
        try:
            with running_worker(SHOP_WORKER, environment), serving_pages(url, prefix) as address:
                open_shop(client)
                print(f"Pages    {address}\n", flush=True)
                yield address
        finally:
            close_shop(client)


def wait_for_interrupt(address: str) -> None:
    """Wait for Ctrl+C, so that there is time to view the pages."""
    print(f"\nThe pages are there until Ctrl+C:\n{address}", flush=True)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def run(url: str, prefix: str, server: redis.Redis) -> None:
    """Schedule, wait, and show what happened."""
    notes = Notes(server, prefix + NOTES)
    environment = {"REDIS_URL": url, "DEMO_PREFIX": prefix}
    with (
        running_worker(WORKER, environment) as worker,
        TimersClient(url, prefix=prefix) as client,
    ):
        notes.wait_until_ready(worker)
        rows = schedule_from_blocking_code(client)
        rows += asyncio.run(schedule_from_asyncio_code(url, prefix, rows[0].due_at))
        notes.collect(rows, worker)
        show_table(rows)
        check(rows, client)
    print("\nAll went as it should.")


# --- as in your own code


def schedule_from_blocking_code(client: TimersClient) -> list[Row]:
    """Schedule three timers, reschedule one and cancel one, as Django or a script would."""

    def due_at(timer_id: str) -> datetime:
        timer = client.get_timer(TOPIC, timer_id)
        if timer is None:
            msg = f"timer {timer_id} is not pending"
            raise DemoError(msg)
        return timer.due_at

    client.schedule("Pay INV-1", TOPIC, timer_id="invoice", activate_in=timedelta(seconds=1))
    say("TimersClient", "schedules  invoice, due in 1 s")
    invoice = Row("invoice", "TimersClient", due_at("invoice"))

    client.schedule("Your trial ends", TOPIC, timer_id="trial", activate_in=timedelta(seconds=2))
    say("TimersClient", "schedules  trial, due in 2 s")
    trial = Row("trial", "TimersClient", due_at("trial"))

    client.schedule("Weekly report", TOPIC, timer_id="report", activate_in=timedelta(hours=1))
    say("TimersClient", "schedules  report, due in 1 h")
    report = Row("report", "TimersClient", due_at("report"))

    trial.cancelled = client.cancel_timer(TOPIC, "trial")
    say("TimersClient", "cancels    trial")

    report.moved_from = report.due_at
    client.reschedule_timer(TOPIC, "report", activate_in=timedelta(seconds=3))
    say("TimersClient", "moves      report, now due in 3 s")
    report.due_at = due_at("report")

    return [invoice, trial, report]


async def schedule_from_asyncio_code(url: str, prefix: str, start: datetime) -> list[Row]:
    """Schedule two timers, as a web app would: one by a delay, one by a time."""
    async with TimersBroker(url, prefix=prefix) as broker:
        rows = []
        await broker.publish(
            "Welcome!", TOPIC, timer_id="welcome", activate_in=timedelta(seconds=2.5)
        )
        say("TimersBroker", "schedules  welcome, due in 2.5 s")
        if timer := await broker.get_timer(TOPIC, "welcome"):
            rows.append(Row("welcome", "TimersBroker", timer.due_at))

        at = start + timedelta(seconds=3)
        await broker.publish("Stand up", TOPIC, timer_id="meeting", activate_at=at)
        say("TimersBroker", f"schedules  meeting, due at {clock(at)}")
        rows.append(Row("meeting", "TimersBroker", at))
        return rows


# --- the worker


@contextmanager
def running_worker(
    words: Sequence[str], environment: Mapping[str, str], *, is_read: bool = False
) -> Iterator["subprocess.Popen[str]"]:
    """Run a worker in its own process, and show its log if something fails.

    Args:
        words: The Python module to run, and its arguments.
        environment: Variables added to those of this process.
        is_read: Whether the caller reads its output; otherwise it goes into the log too.
    """
    with tempfile.TemporaryFile("w+") as log, ExitStack() as ends:
        with deaf_to_interrupts():
            worker = subprocess.Popen(
                [sys.executable, "-m", *words],
                env={**os.environ, **environment},
                stdout=subprocess.PIPE if is_read else log,
                stderr=log,
                text=True,
            )
            ends.enter_context(worker)
            ends.callback(end, worker, 3)
        print(f"Worker   {' '.join(words)} (process {worker.pid})", flush=True)
        try:
            yield worker
        except Exception:
            log.seek(0)
            print(f"\nThe worker's log:\n{log.read()}", file=sys.stderr)
            raise


class Notes:
    """Notes that the worker writes, read until the demo's time is over."""

    def __init__(self, server: redis.Redis, key: str) -> None:
        """Start the clock."""
        self._server = server
        self._key = key
        self._start = time.monotonic()

    def wait_until_ready(self, worker: "subprocess.Popen[str]") -> None:
        """Return when the worker has started."""
        while self._next(worker) is None:
            pass
        print(f"         ready after {time.monotonic() - self._start:.1f} s\n")

    def collect(self, rows: list[Row], worker: "subprocess.Popen[str]") -> None:
        """Add notes to the rows until every timer that should fire has fired."""
        by_id = {row.timer_id: row for row in rows}
        waiting = {row.timer_id for row in rows if not row.cancelled}
        print(f"\nWaiting for {len(waiting)} timers")
        began = time.monotonic()
        while waiting:
            note = self._next(worker)
            passed = f"  {time.monotonic() - began:4.1f} s"
            if note is None:
                print(f"{passed}  ... {len(waiting)} to go", flush=True)
                continue
            by_id[note["timer_id"]].notes.append(note)
            waiting.discard(note["timer_id"])
            print(f"{passed}  {note['timer_id']} fired: {note['text']}", flush=True)

    def _next(self, worker: "subprocess.Popen[str]") -> dict[str, Any] | None:
        """Return the next note, or None if none comes within a second."""
        if time.monotonic() - self._start > LONGEST:
            msg = f"it took more than {LONGEST:g} s"
            raise DemoError(msg)
        if worker.poll() is not None:
            msg = f"the worker ended, with exit code {worker.returncode}"
            raise DemoError(msg)
        item = self._server.blpop([self._key], timeout=1)
        return json.loads(item[1]) if item else None


# --- output


def show_server(server: redis.Redis) -> None:
    """Print the server's name; fail if the server does not reply."""
    facts = server.info("server")
    version = facts.get("valkey_version")
    name = f"Valkey {version}" if version else f"Redis {facts['redis_version']}"
    where = "at REDIS_URL" if os.environ.get("REDIS_URL") else "started for this demo"
    print(f"Server   {name}, {where}")


def say(who: str, what: str) -> None:
    """Print what a front end does."""
    print(f"  {who:12}  {what}")


def clock(moment: datetime) -> str:
    """Write a time of day with milliseconds, in the local time zone."""
    return f"{moment.astimezone():%H:%M:%S.%f}"[:-3]


def show_table(rows: list[Row]) -> None:
    """Print which timers fired, and when."""
    line = "{:8}  {:12}  {:12}  {:12}  {:>8}  {}"
    print()
    print(line.format("timer", "scheduled by", "due", "delivered", "late", "").rstrip())
    print(line.format("-" * 8, "-" * 12, "-" * 12, "-" * 12, "-" * 8, "").rstrip())
    for row in sorted(rows, key=lambda row: row.due_at):
        start = (row.timer_id, row.scheduled_by, clock(row.due_at))
        remark = f"was {clock(row.moved_from)}" if row.moved_from else ""
        for note in row.notes:
            delivered = clock(delivery_of(note))
            late = f"{note['lateness'] * 1000:.1f} ms"
            print(line.format(*start, delivered, late, remark).rstrip())
        if not row.notes:
            what = "cancelled, never fired" if row.cancelled else "NEVER FIRED"
            print(f"{line.format(*start, '', '', '').rstrip()}  {what}")
    print("\nTimes are the server's: when a timer was due, and when the worker got it.")


def delivery_of(note: dict[str, Any]) -> datetime:
    """Return the time, by the server's clock, at which the worker received a timer."""
    return datetime.fromisoformat(note["due_at"]) + timedelta(seconds=note["lateness"])


# --- checks


def check(rows: list[Row], client: TimersClient) -> None:
    """Compare what happened with what was expected."""
    for row in rows:
        expected = 0 if row.cancelled else 1
        if len(row.notes) != expected:
            msg = f"{row.timer_id} fired {len(row.notes)} times instead of {expected}"
            raise DemoError(msg)
        for note in row.notes:
            if datetime.fromisoformat(note["due_at"]) != row.due_at or note["lateness"] < 0:
                msg = f"{row.timer_id} fired at another time than asked for: {note}"
                raise DemoError(msg)
    if sum(row.cancelled for row in rows) != 1:
        msg = "the timer to cancel was not waiting"
        raise DemoError(msg)
    # A timer is removed when its handler has returned, a moment after its note.
    end = time.monotonic() + 1
    while client.count_pending(TOPIC):
        if time.monotonic() > end:
            msg = f"timers are left: {client.get_pending_timers(TOPIC)}"
            raise DemoError(msg)
        time.sleep(0.01)


def clean_up(url: str, prefix: str, server: redis.Redis) -> None:
    """Leave nothing on the server, even if the demo was interrupted."""
    with suppress(redis.RedisError), TimersClient(url, prefix=prefix) as client:
        client.cancel_all(TOPIC)
        server.delete(prefix + NOTES)


if __name__ == "__main__":
    sys.exit(main())
