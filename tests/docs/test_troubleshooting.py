"""The commands of the page "Troubleshooting" show on a real server what the page says they do."""

import asyncio
import doctest
import os
import shlex
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import redis
from command_line import LONGEST, MODULE, environment
from pages import DOCS, ROOT, blocks_of
from waiting import wait_until_async

from examples.embedded_server import embedded_server
from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import Cron, TimersClient

PAGE = DOCS / "troubleshooting.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
DAYS = timedelta(days=30, seconds=30)


class Server:
    """A server of one test's own, and the page's commands on it."""

    def __init__(self, url):
        self.url = url
        self.redis = redis.Redis.from_url(url)
        self.timers = TimersClient(url)

    def run(self, command, user=""):
        program, *arguments = shlex.split(command)
        if program == "faststream-redis-timers":
            words = [*MODULE, *arguments]
        else:
            assert program == "redis-cli"
            # As it writes to a terminal.
            words = [redis_cli(), "--no-raw", "-s", self.url.removeprefix("unix://"), *arguments]
        url = self.url.replace("unix://", f"unix://{user}:x@") if user else self.url
        done = subprocess.run(
            words,
            env=environment(TIMERS_REDIS_URL=url, COLUMNS="300"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        return done.stdout

    def overdue_for(self, timer_id):
        """Tell for how long a timer is due, by the server's clock."""
        seconds, microseconds = self.redis.time()
        now = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
        return now - self.timers.get_timer("invoices", timer_id).due_at

    def shows(self, heading, user=""):
        """Run the commands of a section, and compare what they show."""
        for command, shown in commands_of(heading):
            output = self.run(command, user)
            assert doctest.OutputChecker().check_output(shown, output, FLAGS), (
                f"$ {command}\n{output}\ninstead of\n{shown}"
            )


def redis_cli():
    for name in ("redis-cli", "valkey-cli"):
        if path := shutil.which(name):
            return path
    reason = "there is no redis-cli on the PATH"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    return pytest.skip(reason)


def commands_of(heading):
    lines = PAGE.read_text().splitlines()
    start = lines.index(heading) + 1
    after = [n for n in range(start, len(lines)) if lines[n].startswith(("# ", "## "))]
    end = after[0] if after else len(lines)
    found = []
    for block in blocks_of(PAGE):
        if block.language == "console" and start < block.line <= end:
            for part in ("\n" + block.text).split("\n$ ")[1:]:
                command, _, shown = part.partition("\n")
                found.append((command, shown))
    assert found, heading
    return found


@pytest.fixture
def server():
    with embedded_server(config={"appendonly": "no"}) as url:
        server = Server(url)
        yield server
        server.timers.close()
        server.redis.close()


def test_a_server_that_is_well(server):
    server.redis.config_set("appendonly", "yes")
    server.shows("# Troubleshooting")


async def test_late(server):
    release = asyncio.Event()
    began = asyncio.Event()
    broker = TimersBroker(server.url, logger=None)

    @broker.subscriber("invoices", max_concurrent=1)
    async def remind(_: str) -> None:
        began.set()
        await release.wait()

    async with broker:
        await broker.publish("a", "invoices", timer_id="INV-001")
        await began.wait()
        await broker.publish("a", "invoices", timer_id="INV-002")
        await broker.publish("a", "invoices", timer_id="INV-003")
        # They are due now; a second later they are overdue in words too.
        overdue = timedelta(seconds=1)
        await wait_until_async(lambda: server.overdue_for("INV-003") > overdue)
        await asyncio.to_thread(server.shows, "## Timers fire late")
        release.set()
        await wait_until_async(lambda: not server.redis.keys("timers_*"))


def test_twice(server):
    for _ in range(2):
        server.timers.schedule("a", "invoices", activate_in=DAYS)
    server.shows("## A timer fires twice")


async def test_never(server):
    broker = TimersBroker(server.url, prefix="billing:", logger=None)

    @broker.subscriber("invoices")
    async def remind(_: str) -> None: ...

    async with broker:
        await wait_until_async(server.redis.pubsub_channels)
        server.timers.schedule("a", "invoices", timer_id="INV-001")
        overdue = timedelta(seconds=1)
        await wait_until_async(lambda: server.overdue_for("INV-001") > overdue)
        await asyncio.to_thread(server.shows, "## A timer never fires")


def test_a_recurring_timer(server):
    server.timers.schedule("a", "reports", timer_id="daily", repeat=Cron("0 9 * * *"))
    assert server.timers.pause_timer("reports", "daily")
    server.shows("## A recurring timer stops, or runs at the wrong time")


def test_memory(server):
    server.timers.schedule_batch(["a", "b"], "invoices", activate_in=DAYS)
    server.timers.schedule("a", "reports")
    server.shows("## Redis memory grows")


def test_noscript(server):
    server.timers.schedule("a", "invoices")
    server.redis.script_flush()
    server.timers.schedule("a", "invoices")
    server.shows("## NOSCRIPT: no matching script")
    assert "errorstat_NOSCRIPT:count=2" in server.run("redis-cli info errorstats")


def test_readonly(server):
    server.redis.replicaof("127.0.0.1", 1)
    server.shows("## READONLY: can't write against a read only replica")


def test_noperm(server):
    server.redis.acl_setuser(
        "app", enabled=True, nopass=True, keys=["*"], commands=["+@all"], reset_channels=True
    )
    heading = "## NOPERM: no permission for a command, key or channel"
    server.shows(heading, user="app")
    rule = next(shown for _, shown in commands_of(heading)).strip().splitlines()[-1]
    server.redis.execute_command(*shlex.split(rule))
    assert "has all permissions that timers need" in server.run(
        "faststream-redis-timers check", "app"
    )


def test_oom(server):
    server.timers.schedule("a", "invoices", timer_id="INV-001")
    server.redis.config_set("maxmemory", "1")
    server.shows("## OOM: command not allowed when used memory > 'maxmemory'")
    # What frees memory goes on.
    assert server.timers.cancel_timer("invoices", "INV-001")
