"""Servers that fall silent without a sign (no RST, no FIN): everything on clients made from a URL
comes back by itself, and says what happened."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
import redis
from relay import Relay
from waiting import wait_until, wait_until_async

from faststream_redis_timers import TimerOutcomeUnknownError, TimersBroker
from faststream_redis_timers_sync import TimersClient

TOPIC = "invoices"
HOUR = timedelta(hours=1)

PROMISED = 5.0
"""Seconds within which a call on a client made from a URL returns; 2 to connect and 2 for the
answer are its own."""

LARGE = b"x" * 16 * 1024 * 1024
"""More than all the buffers on the way hold."""

Call = Callable[[TimersBroker], Awaitable[Any]]


async def iterate(broker: TimersBroker, **options: Any) -> list[str]:
    return [timer.timer_id async for timer in broker.iter_timers(TOPIC, **options)]


CHANGES: dict[str, Call] = {
    "publish": lambda broker: broker.publish("x", TOPIC, activate_in=HOUR),
    "publish a large body": lambda broker: broker.publish(LARGE, TOPIC, activate_in=HOUR),
    "publish_batch": lambda broker: broker.publish_batch(
        *range(450), topic=TOPIC, activate_in=HOUR
    ),
    "publisher": lambda broker: broker.publisher(TOPIC).publish("x", activate_in=HOUR),
    "reschedule_timer": lambda broker: broker.reschedule_timer(TOPIC, "1", activate_in=HOUR),
    "cancel_timer": lambda broker: broker.cancel_timer(TOPIC, "1"),
    "cancel_timers": lambda broker: broker.cancel_timers(TOPIC, map(str, range(450))),
    "cancel_all": lambda broker: broker.cancel_all(TOPIC),
}

READS: dict[str, Call] = {
    "has_pending": lambda broker: broker.has_pending(TOPIC, "1"),
    "get_timer": lambda broker: broker.get_timer(TOPIC, "1"),
    "get_pending_timers": lambda broker: broker.get_pending_timers(TOPIC),
    "count_pending": lambda broker: broker.count_pending(TOPIC),
    "iter_timers": iterate,
    "iter_timers with match": lambda broker: iterate(broker, match="*"),
}

LOST = (redis.ConnectionError, redis.TimeoutError, TimeoutError)


async def outcome_of(call: Call, broker: TimersBroker) -> Any:
    try:
        return await asyncio.wait_for(call(broker), PROMISED)
    except TimeoutError as error:
        return "hangs" if error.__cause__ is not None else error
    except Exception as error:  # noqa: BLE001  it is the outcome
        return error


async def outcomes(brokers: dict[str, TimersBroker], calls: dict[str, Call]) -> dict[str, Any]:
    """Make each call with a broker each, all at once."""
    found = await asyncio.gather(*(outcome_of(call, brokers[name]) for name, call in calls.items()))
    return dict(zip(calls, found, strict=True))


# --- the broker


async def test_a_server_that_falls_silent_ends_every_call_in_time(relay, key_names):
    calls = {**CHANGES, **READS}
    async with AsyncExitStack() as stack:
        brokers = {}
        for name in calls:
            brokers[name] = TimersBroker(relay.url, **key_names)
            await brokers[name].connect()
            stack.push_async_callback(brokers[name].stop)
            await brokers[name].publish("x", TOPIC, timer_id="1", activate_in=HOUR)
        relay.stall()

        found = await outcomes(brokers, calls)

        for name in CHANGES:
            assert isinstance(found[name], TimerOutcomeUnknownError), name
        for name in READS:
            assert isinstance(found[name], LOST), name
        relay.refuse()
    relay.resume()


URLS = {
    "redis": "redis://127.0.0.1:{port}/3",
    "with a password": "redis://user:secret@127.0.0.1:{port}?protocol=3",
    "rediss": "rediss://127.0.0.1:{port}",
    "unix": "unix://{path}?db=3",
}


@contextmanager
def silent_server(kind: str, path: str) -> Iterator[tuple[str, Callable[[], int]]]:
    """Give the URL of a socket that the kernel accepts connections for, and nobody answers.

    The second is a function that counts the connections that were made to it.
    """
    family, address = socket.AF_INET, ("127.0.0.1", 0)
    with socket.socket(socket.AF_UNIX if kind == "unix" else family) as server:
        server.bind(path if kind == "unix" else address)
        server.listen(100)
        port = None if kind == "unix" else server.getsockname()[1]
        server.setblocking(False)
        accepted = []

        def count() -> int:
            with contextlib.suppress(BlockingIOError):
                while True:
                    accepted.append(server.accept()[0].close())
            return len(accepted)

        yield URLS[kind].format(port=port, path=path), count


@pytest.mark.parametrize("kind", URLS)
async def test_a_server_that_never_says_a_word_ends_every_call_in_time(kind, tmp_path):
    calls = {**CHANGES, **READS}
    with silent_server(kind, str(tmp_path / "s")) as (url, count_connections):
        async with AsyncExitStack() as stack:
            brokers = {}
            for name in calls:
                brokers[name] = TimersBroker(url)
                await brokers[name].connect()
                stack.push_async_callback(brokers[name].stop)

            found = await outcomes(brokers, calls)

            # A second try would have needed another connection, and as much time again.
            assert count_connections() == len(calls)

    for name, outcome in found.items():
        # On a bare socket connecting succeeds, and what is lost is the answer.
        assert isinstance(outcome, (*LOST, TimerOutcomeUnknownError)), name


@pytest.mark.parametrize("kind", URLS)
async def test_start_ping_and_stop_come_back_from_a_silent_server(kind, tmp_path):
    with silent_server(kind, str(tmp_path / "s")) as (url, _):
        broker = TimersBroker(url, start_timeout=0.2)
        broker.subscriber(TOPIC)
        with pytest.raises(TimeoutError, match=r"start_timeout=0\.2"):
            await asyncio.wait_for(broker.start(), PROMISED)

        await broker.connect()
        assert await asyncio.wait_for(broker.ping(), PROMISED) is False
        await asyncio.wait_for(broker.stop(), PROMISED)


async def test_a_body_that_is_not_taken_is_given_up(relay, key_names):
    broker = TimersBroker(relay.url, **key_names)
    await broker.connect()
    await broker.publish("x", TOPIC, activate_in=HOUR)
    relay.stall()

    found = await outcome_of(CHANGES["publish a large body"], broker)

    assert isinstance(found, TimerOutcomeUnknownError)
    await asyncio.wait_for(broker.stop(), PROMISED)
    relay.refuse()
    relay.resume()


async def test_an_iteration_is_given_up_in_the_middle(relay, key_names):
    broker = TimersBroker(relay.url, **key_names)
    await broker.connect()
    await broker.publish_batch(*range(1100), topic=TOPIC, activate_in=HOUR)
    seen = 0

    async def look() -> None:
        nonlocal seen
        async for _ in broker.iter_timers(TOPIC):
            if seen == 0:
                relay.stall()
            seen += 1

    with pytest.raises(LOST):
        await asyncio.wait_for(look(), PROMISED)
    assert 0 < seen < 1100
    relay.resume()
    await broker.stop()


async def test_a_worker_stops_though_the_server_is_silent_and_comes_back_if_it_is_not(
    relay, key_names
):
    broker = TimersBroker(relay.url, **key_names, graceful_timeout=0.5, logger=None)
    got = []

    @broker.subscriber(TOPIC)
    async def handle(message: str) -> None:
        got.append(message)

    await broker.start()
    await broker.publish("first", TOPIC)
    await wait_until_async(lambda: got == ["first"])
    relay.stall()
    assert await asyncio.wait_for(broker.ping(0.2), PROMISED) is False
    # A call of the loop in flight may take its 5 seconds.
    await asyncio.wait_for(broker.stop(), 3 * PROMISED)
    relay.resume()
    await broker.start()
    await broker.publish("second", TOPIC)
    await wait_until_async(lambda: got == ["first", "second"])
    await broker.stop()


# --- the blocking client: what tests of the web client do not have


def in_time(call: Callable[[], Any]) -> Any:
    """Make a call in a thread, and give its result or error."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:  # noqa: BLE001  it is the outcome
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PROMISED)
    return found[0] if found else "hangs"


def test_a_body_that_is_not_taken_is_given_up_by_the_client_too(relay, key_names):
    with TimersClient(relay.url, **key_names) as client:
        client.schedule("x", TOPIC, activate_in=HOUR)
        relay.stall()

        found = in_time(lambda: client.schedule(LARGE, TOPIC, activate_in=HOUR))

    assert isinstance(found, TimerOutcomeUnknownError)
    relay.refuse()
    relay.resume()


def test_an_iteration_is_given_up_in_the_middle_by_the_client_too(relay, key_names):
    seen = []
    with TimersClient(relay.url, **key_names) as client:
        client.schedule_batch(range(1100), TOPIC, activate_in=HOUR)

        def look() -> None:
            for timer in client.iter_timers(TOPIC):
                if not seen:
                    relay.stall()
                seen.append(timer.timer_id)

        found = in_time(look)

    assert isinstance(found, LOST)
    assert 0 < len(seen) < 1100
    relay.resume()


# --- TLS, where closing is an agreement


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory) -> Iterator[tuple[str, str]]:
    """A Redis that speaks TLS alone: its URL, and the path of its certificate."""
    binary, openssl = shutil.which("redis-server"), shutil.which("openssl")
    if binary is None or openssl is None:
        pytest.skip("it needs redis-server and openssl on the PATH")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    request = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    request += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run([*request, "-addext", names], check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, "--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
    command += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    command += ["--tls-ca-cert-file", str(certificate), "--save", "", "--dir", str(folder)]
    context = ssl.create_default_context(cafile=str(certificate))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:

        def answers() -> bool:
            if process.poll() is not None:
                pytest.skip("this redis-server knows no TLS")
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), 1) as plain,
                context.wrap_socket(plain, server_hostname="localhost"),
            ):
                return True
            return False

        try:
            wait_until(answers)
            yield f"redis://127.0.0.1:{port}", str(certificate)
        finally:
            process.kill()


@pytest.mark.parametrize("delivers", [False, True])
async def test_a_broker_stops_though_the_server_never_says_goodbye(tls_server, delivers):
    address, certificate = tls_server
    with Relay(address) as relay:
        url = relay.url.replace("redis://", "rediss://")
        # However long connecting may take.
        url += f"?ssl_ca_certs={certificate}&socket_connect_timeout=60"
        broker = TimersBroker(url, graceful_timeout=0.5, logger=None)
        if delivers:

            @broker.subscriber(TOPIC)
            async def handle(message: str) -> None:
                """Do nothing."""

        await broker.start()
        await broker.publish("x", "other", activate_in=HOUR)
        relay.stall()
        started_at = time.monotonic()

        await broker.stop()

        assert time.monotonic() - started_at < 3 * PROMISED
        relay.refuse()
        relay.resume()


def test_a_client_closes_though_the_server_never_says_goodbye(tls_server):
    address, certificate = tls_server
    with Relay(address) as relay:
        url = relay.url.replace("redis://", "rediss://")
        client = TimersClient(f"{url}?ssl_ca_certs={certificate}&socket_connect_timeout=60")
        client.schedule("x", "other", activate_in=HOUR)
        relay.stall()

        assert in_time(client.close) is None

        relay.refuse()
        relay.resume()
