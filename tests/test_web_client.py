"""`TimersClient` in a web process: a server that is away costs a request little, forks are safe."""

import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from command_line import ROOT
from waiting import wait_until

from faststream_redis_timers_sync import (
    Every,
    Series,
    TimerExistsError,
    TimerOutcomeUnknownError,
    TimerPublishMessage,
    TimersClient,
)

TOPIC = "invoices"
HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)

DAILY = Every(days=1)
SERIES = [Series("x", TOPIC, timer_id="1", repeat=DAILY)]

PROMISED = 5.0
"""Seconds within which a server that refuses or is silent becomes an error."""

CALLS: dict[str, Callable[[TimersClient], Any]] = {
    "schedule": lambda client: client.schedule("x", TOPIC),
    "schedule_batch": lambda client: client.schedule_batch(range(1100), TOPIC),
    "schedule a series": lambda client: client.schedule("x", TOPIC, timer_id="1", repeat=DAILY),
    "schedule_batch of series": lambda client: client.schedule_batch(
        [TimerPublishMessage("x", timer_id="1")], TOPIC, repeat=DAILY
    ),
    "pause_timer": lambda client: client.pause_timer(TOPIC, "1"),
    "resume_timer": lambda client: client.resume_timer(TOPIC, "1"),
    "ensure_series": lambda client: client.ensure_series(SERIES, owner="shop"),
    "compare_series": lambda client: client.compare_series(SERIES, owner="shop"),
    "reschedule_timer": lambda client: client.reschedule_timer(TOPIC, "1", activate_in=HOUR),
    "cancel_timer": lambda client: client.cancel_timer(TOPIC, "1"),
    "cancel_timers": lambda client: client.cancel_timers(TOPIC, map(str, range(1100))),
    "cancel_all": lambda client: client.cancel_all(TOPIC),
    "redrive": lambda client: client.redrive(TOPIC),
    "redrive with ids": lambda client: client.redrive(TOPIC, ["1"]),
    "has_pending": lambda client: client.has_pending(TOPIC, "1"),
    "get_timer": lambda client: client.get_timer(TOPIC, "1"),
    "get_pending_timers": lambda client: client.get_pending_timers(TOPIC),
    "iter_timers": lambda client: list(client.iter_timers(TOPIC)),
    "iter_timers with match": lambda client: list(client.iter_timers(TOPIC, match="*")),
    "count_pending": lambda client: client.count_pending(TOPIC),
    "ping": lambda client: client.ping(),
}


def test_every_method_is_called_here():
    own = {name for name in vars(TimersClient) if not name.startswith("_")}

    assert {name.partition(" ")[0] for name in CALLS} == own - {"close"}


def outcomes(
    clients: dict[str, TimersClient], calls: dict[str, Callable[[TimersClient], Any]] = CALLS
) -> dict[str, Any]:
    """Make each call with a client each, all at once.

    Returns:
        Its result, the class of its error, or "hangs".
    """
    found: dict[str, Any] = {}

    def make(name, call, client):
        try:
            found[name] = call(client)
        except Exception as error:  # noqa: BLE001  it is the outcome
            found[name] = type(error)

    threads = [
        threading.Thread(target=make, args=(name, call, clients[name]), daemon=True)
        for name, call in calls.items()
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + PROMISED
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    return {name: found.get(name, "hangs") for name in calls}


def is_bad(name: str, outcome: Any) -> bool:
    """Say what is not an error of the connection, and for ping not False."""
    if name.startswith("ping"):
        return outcome is not False
    return outcome not in {redis.ConnectionError, redis.TimeoutError}


@contextmanager
def listening(family: socket.AddressFamily, address: Any) -> Iterator[socket.socket]:
    """Give a socket that the kernel accepts connections for, and nobody answers."""
    with socket.socket(family) as server:
        server.bind(address)
        server.listen(100)
        yield server


def accepted(server: socket.socket) -> int:
    """Count the connections that were made to it."""
    server.setblocking(False)
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


URLS = {
    "redis": "redis://127.0.0.1:{port}/3",
    "with a password": "redis://user:secret@127.0.0.1:{port}?protocol=3",
    "rediss": "rediss://127.0.0.1:{port}",
    "unix": "unix://{path}?db=3",
    "redis that should retry": "redis://127.0.0.1:{port}?retry_on_timeout=yes",
}


def test_a_silent_server_is_an_error_in_time_for_every_method_and_is_asked_once(tmp_path):
    """All of them wait at once, with the timeouts that clients have by default."""
    with ExitStack() as stack:
        clients, calls, servers = {}, {}, {}
        for kind, url in URLS.items():
            path = tmp_path / f"{len(servers)}.sock"
            server = stack.enter_context(
                listening(socket.AF_UNIX, str(path))
                if kind == "unix"
                else listening(socket.AF_INET, ("127.0.0.1", 0))
            )
            servers[kind] = server
            port = None if kind == "unix" else server.getsockname()[1]
            for name, call in CALLS.items():
                client = TimersClient(url.format(port=port, path=path))
                clients[f"{name} on {kind}"] = stack.enter_context(client)
                calls[f"{name} on {kind}"] = call

        found = outcomes(clients, calls)

        assert {name: found[name] for name in found if is_bad(name, found[name])} == {}
        connections = {kind: accepted(server) for kind, server in servers.items()}
        assert connections == dict.fromkeys(URLS, len(CALLS))


# redis-py 5.0 leaves the socket to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("kind", ["redis", "rediss", "unix"])
def test_a_server_that_refuses_is_an_error_for_every_method(tmp_path, kind):
    with socket.socket() as keeper:
        # Bound and not listening: nobody else gets the port meanwhile.
        keeper.bind(("127.0.0.1", 0))
        url = URLS[kind].format(port=keeper.getsockname()[1], path=tmp_path / "nobody")
        with TimersClient(url) as client:
            found = outcomes(dict.fromkeys(CALLS, client))

    assert {name: found[name] for name in found if is_bad(name, found[name])} == {}


def test_a_server_that_falls_silent_is_waited_for_once(relay, key_names):
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(TimersClient(relay.url, **key_names)) for name in CALLS
        }
        for client in clients.values():
            client.schedule("x", TOPIC, timer_id="1", activate_at=YEAR_2050)
        relay.stall()
        connected = relay.connected

        found = outcomes(clients)

        unknown = {name for name in found if found[name] is TimerOutcomeUnknownError}
        writing = ("schedule", "resch", "canc", "pause")
        # Those of series ask for the time first, which changes nothing.
        assert unknown == {
            name for name in CALLS if name.startswith(writing) and "series" not in name
        }
        rest = found.keys() - unknown
        assert {name: found[name] for name in rest if is_bad(name, found[name])} == {}
        # A second try would have needed another connection.
        assert relay.connected == connected
        relay.refuse()
    relay.resume()


# --- forks -------------------------------------------------------------------------------

CHILDREN = 4


def use(client: TimersClient, side: str) -> None:
    """Schedule and cancel as a worker process does; every answer must be its own."""
    for n in range(50):
        timer_id = f"{side}:{n}"
        assert client.schedule(timer_id, TOPIC, timer_id=timer_id, activate_in=HOUR) == timer_id
        assert client.get_timer(TOPIC, timer_id).decode() == timer_id
        with pytest.raises(TimerExistsError, match=timer_id):
            client.schedule("other", TOPIC, timer_id=timer_id, if_exists="error")
        if n % 2:
            assert client.cancel_timer(TOPIC, timer_id) is True
            assert client.cancel_timer(TOPIC, timer_id) is False
            assert client.has_pending(TOPIC, timer_id) is False


# Python warns of forks beside threads, which is what this is about.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("given", ["url", "client"])
def test_processes_forked_while_the_pool_is_in_use_get_their_own_answers(
    relay, key_names, given, redis_client
):
    """As Celery's prefork, gunicorn's and uWSGI's workers are made."""
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(CHILDREN + 1)

    def work(side):
        start.wait(timeout=30)
        use(client, side)

    of_parent = []
    given = relay.url if given == "url" else redis.Redis.from_url(relay.url)
    client = TimersClient(given, **key_names)
    client.schedule("before", TOPIC, timer_id="before", activate_at=YEAR_2050)
    client.count_pending(TOPIC)
    relay.commands.clear()
    # A thread waits for its answer while the process is forked.
    relay.hold_replies()
    waiting = threading.Thread(target=lambda: of_parent.append(client.count_pending(TOPIC)))
    waiting.start()
    wait_until(lambda: relay.count("EVALSHA"))
    children = [
        fork.Process(target=work, args=(f"child {n}",), daemon=True) for n in range(CHILDREN)
    ]
    for child in children:
        child.start()
    relay.resume()
    waiting.join()
    assert of_parent == [1]

    work("parent")
    for child in children:
        child.join(timeout=60)

    assert [child.exitcode for child in children] == [0] * CHILDREN
    left = {f"{side}:{n}" for side in sides() for n in range(0, 50, 2)}
    assert set(client.get_pending_timers(TOPIC)) == {"before", *left}
    assert client.get_timer(TOPIC, "before").decode() == "before"
    client._runner.client.close()


def sides() -> list[str]:
    return ["parent", *(f"child {n}" for n in range(CHILDREN))]


CHILDREN_BESIDE_BUSY_THREADS = """
import os, signal, sys, threading
from faststream_redis_timers_sync import TimersClient

client = TimersClient(sys.argv[1], timeline_key=sys.argv[2], payloads_key=sys.argv[3],
                      attempts_key=sys.argv[4])
client.schedule("x", "t", timer_id="before")
is_over = False
# So that a fork meets threads anywhere, within redis-py's pool too.
sys.setswitchinterval(1e-6)

def keep_busy():
    while not is_over:
        assert client.has_pending("t", "before")

threads = [threading.Thread(target=keep_busy) for _ in range(8)]
for thread in threads:
    thread.start()
ended = []
while len(ended) < 100 and not any(ended):
    child = os.fork()
    if child == 0:
        # Where it hangs nobody else would end it.
        signal.alarm(30)
        has_own_answers = client.has_pending("t", "before") and not client.has_pending("t", "other")
        os._exit(0 if has_own_answers else 1)
    _, status = os.waitpid(child, 0)
    ended.append(os.waitstatus_to_exitcode(status))
is_over = True
for thread in threads:
    thread.join()
print(len(ended), set(ended), client.cancel_timer("t", "before"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_children_forked_beside_busy_threads_never_hang(server_url, key_names):
    words = ("-W", "ignore::DeprecationWarning", "-c", CHILDREN_BESIDE_BUSY_THREADS)
    done = subprocess.run(
        [sys.executable, *words, server_url, *key_names.values()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout == "100 {0} True\n"
