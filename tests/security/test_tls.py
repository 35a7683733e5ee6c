"""TLS to a Redis server that wants client certificates, for both front ends, wake-ups included."""

import asyncio
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import redis
import redis.asyncio
import trustme
from bench import NO_POLLS
from command_line import ROOT
from faststream.security import BaseSecurity, SASLPlaintext
from waiting import wait_until, wait_until_async

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient

PASSWORD = "s3cret"  # noqa: S105  no real one


class Certificates:
    """An authority, and certificates of a server, of a client, and of somebody else's authority."""

    def __init__(self, folder):
        authority, other = trustme.CA(), trustme.CA()
        self.ca = folder / "ca.pem"
        self.other_ca = folder / "other-ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        other.cert_pem.write_to_path(self.other_ca)
        self.server = _written(folder, "server", authority.issue_cert("localhost"))
        self.client = _written(folder, "client", authority.issue_cert("client.test"))
        self.stranger = _written(folder, "stranger", other.issue_cert("client.test"))


def _written(folder, name, certificate):
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    certificate.private_key_pem.write_to_path(key)
    return chain, key


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


class Server:
    """A server that speaks nothing but TLS, and only to clients with a certificate."""

    def __init__(self, binary, folder, certificates):
        # The kernel chooses; between closing and the server's start nobody else gets it.
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        chain, key = certificates.server
        settings = {
            "port": "0",
            "bind": "127.0.0.1 -::1",
            "tls-port": str(self.port),
            "tls-cert-file": str(chain),
            "tls-key-file": str(key),
            "tls-ca-cert-file": str(certificates.ca),
            "tls-auth-clients": "yes",
            "unixsocket": str(folder / "server.sock"),
            "dir": str(folder),
            "save": "",
            "requirepass": PASSWORD,
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self.log = (folder / "server.log").open("w+")
        self.process = subprocess.Popen([binary, *words], stdout=self.log, stderr=subprocess.STDOUT)
        self.admin = redis.Redis(unix_socket_path=str(folder / "server.sock"), password=PASSWORD)
        try:
            wait_until(self._is_ready, timeout=20)
        except BaseException:
            self.close()
            raise

    def _is_ready(self):
        said = Path(self.log.name).read_text()
        assert self.process.poll() is None, said
        return all(f"accept connections {kind}" in said for kind in ("tls", "unix"))

    def close(self):
        self.admin.close()
        self.process.terminate()
        self.process.wait(10)
        self.log.close()


@pytest.fixture(scope="module")
def server(certificates):
    binary = shutil.which("redis-server")
    if binary is None and os.environ.get("CI") != "true":
        pytest.skip("there is no redis-server here, and the embedded one has no TLS")
    # A short path: that of a Unix socket may have about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="timers-tls-") as folder:
        server = Server(binary, Path(folder), certificates)
        yield server
        server.close()


@pytest.fixture
def url(server):
    return f"rediss://localhost:{server.port}"


@pytest.fixture
def topic(server):
    """A topic of this test alone."""
    yield (name := f"topic-{uuid4().hex}")
    with TimersClient(server.admin) as timers:
        timers.cancel_all(name)


def context_of(certificates, *, ca=None, client="client"):
    context = ssl.create_default_context(cafile=ca or certificates.ca)
    if client:
        context.load_cert_chain(*getattr(certificates, client))
    return context


def options_of(certificates, *, ca=None, client="client"):
    """The same for redis-py, as the options of a client or in a URL."""
    options = {"ssl_ca_certs": str(ca or certificates.ca), "ssl_check_hostname": True}
    if client:
        chain, key = getattr(certificates, client)
        options |= {"ssl_certfile": str(chain), "ssl_keyfile": str(key)}
    return {"password": PASSWORD, **options}


def in_url(url, options):
    pairs = (f"{name}={value}" for name, value in options.items() if name != "ssl_check_hostname")
    return f"{url}?{'&'.join(pairs)}"


def brokers(url, certificates):
    """The ways to a broker with TLS and a client certificate."""
    security = SASLPlaintext("default", PASSWORD, ssl_context=context_of(certificates))
    options = options_of(certificates)
    yield TimersBroker(url, security=security)
    yield TimersBroker(in_url(url, options))
    yield TimersBroker(redis.asyncio.Redis.from_url(url, **options))


WAYS = ("a context", "a URL", "a client")


@pytest.mark.parametrize("way", range(3), ids=WAYS)
async def test_a_worker_and_a_producer_work_over_tls_and_so_do_wake_ups(
    way, server, url, certificates, topic
):
    broker = list(brokers(url, certificates))[way]
    delivered = []

    # It never polls: only a wake-up can bring what is scheduled later.
    @broker.subscriber(topic, **NO_POLLS)
    async def handle(body: str) -> None:
        delivered.append(body)

    client = await broker.connect()
    channel = f"timers_timeline:{topic}"
    with TimersClient(url, options=options_of(certificates)) as timers:
        timers.schedule("waiting", topic)
        async with broker:
            await wait_until_async(lambda: delivered == ["waiting"])
            await wait_until_async(lambda: server.admin.pubsub_numsub(channel)[0][1] == 1)
            timers.schedule("soon", topic, activate_in=timedelta(seconds=0.05))
            await wait_until_async(lambda: delivered == ["waiting", "soon"])

            # It comes back, wake-ups too, when all connections were killed.
            server.admin.client_kill_filter(_type="pubsub")
            server.admin.client_kill_filter(_type="normal", skipme=True)
            await wait_until_async(lambda: server.admin.pubsub_numsub(channel)[0][1] == 1)
            TimersClient(server.admin).schedule("again", topic)
            await wait_until_async(lambda: delivered[2:] == ["again"])
        assert timers.count_pending(topic) == 0
    # One that was given stays open.
    await client.aclose()


def clients(url, certificates):
    """The ways to a blocking client with TLS and a client certificate."""
    options = options_of(certificates)
    yield TimersClient(url, options=options)
    yield TimersClient(in_url(url, options))
    yield TimersClient(redis.Redis.from_url(url, **options))


@pytest.mark.parametrize("way", range(3), ids=WAYS)
def test_a_blocking_client_schedules_looks_and_cancels_over_tls(way, url, certificates, topic):
    with list(clients(url, certificates))[way] as timers:
        timers.schedule("x" * 100_000, topic, timer_id="1", activate_in=timedelta(hours=1))
        assert timers.get_timer(topic, "1").decode() == "x" * 100_000
        assert timers.cancel_timer(topic, "1")
        timers._runner.client.close()


# --- what must be refused

REFUSED = {
    "an authority that is not trusted": {"ca": "other_ca"},
    "no client certificate": {"client": None},
    "a client certificate by somebody else": {"client": "stranger"},
}


@pytest.mark.parametrize("wrong", REFUSED.values(), ids=REFUSED)
def test_a_blocking_client_with_wrong_certificates_gets_nowhere(wrong, url, certificates):
    made = {**wrong, "ca": certificates.other_ca} if "ca" in wrong else wrong
    with (
        TimersClient(url, options=options_of(certificates, **made)) as timers,
        pytest.raises(redis.RedisError) as caught,
    ):
        timers.schedule("x", "never")

    assert PASSWORD not in str(caught.value)
    assert_about_certificates(caught.value)


@pytest.mark.parametrize("wrong", REFUSED.values(), ids=REFUSED)
async def test_a_broker_with_wrong_certificates_does_not_start(wrong, url, certificates):
    made = {**wrong, "ca": certificates.other_ca} if "ca" in wrong else wrong
    security = SASLPlaintext("default", PASSWORD, ssl_context=context_of(certificates, **made))
    broker = TimersBroker(url, security=security, start_timeout=0.5)

    with pytest.raises(TimeoutError) as caught:
        await broker.start()
    await broker.stop()

    assert PASSWORD not in str(caught.value)
    assert_about_certificates(caught.value)


def assert_about_certificates(error):
    texts = []
    while error is not None:
        texts.append(f"{type(error).__name__} {error}".lower())
        error = error.__cause__ or error.__context__
    # With TLS 1.3 a client learns of its own certificate when it reads, or that it was cut.
    words = ("certificate", "ssl", "reset", "closed", "broken pipe")
    assert any(word in text for text in texts for word in words), texts


def test_a_name_that_the_certificate_lacks_is_refused(server, certificates):
    url = f"rediss://127.0.0.1:{server.port}"

    with (
        TimersClient(url, options=options_of(certificates)) as timers,
        pytest.raises(redis.ConnectionError) as caught,
    ):
        timers.schedule("x", "never")
    assert_about_certificates(caught.value)

    async def start():
        security = SASLPlaintext("default", PASSWORD, ssl_context=context_of(certificates))
        broker = TimersBroker(url, security=security, start_timeout=0.5)
        try:
            await broker.start()
        finally:
            await broker.stop()

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(start())
    assert_about_certificates(caught.value)


async def test_without_tls_such_a_server_is_not_reached(server):
    plain = f"redis://localhost:{server.port}"
    with TimersClient(plain) as timers, pytest.raises(redis.RedisError):
        timers.schedule("x", "never")

    broker = TimersBroker(plain, start_timeout=0.3)
    with pytest.raises(TimeoutError):
        await broker.start()
    await broker.stop()


async def test_use_ssl_alone_trusts_what_the_machine_trusts_and_no_more(url):
    broker = TimersBroker(url, security=BaseSecurity(use_ssl=True), start_timeout=0.5)

    with pytest.raises(TimeoutError) as caught:
        await broker.start()
    await broker.stop()
    assert_about_certificates(caught.value)


# --- the page


def documented(start, url, certificates):
    """Run a block of docs/security.md against this server, and give its names."""
    page = (ROOT / "docs" / "security.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (block,) = (block for block in blocks if block.startswith(start))
    chain, key = certificates.client
    host = url.removeprefix("rediss://")
    for written, meant in {
        '"ca.pem"': repr(str(certificates.ca)),
        '"client.pem"': repr(str(chain)),
        '"client.key"': repr(str(key)),
        "producer@db.internal:6380": f"default@{host}",
        "db.internal:6380": host,
        '"worker"': '"default"',
    }.items():
        assert written in block
        block = block.replace(written, meant)
    names = {"password": PASSWORD}
    exec(block, names)  # noqa: S102  it is our page
    return names


async def test_the_page_s_broker_and_client_meet_over_tls(url, certificates, topic):
    names = documented("import ssl", url, certificates)
    delivered = []

    @names["broker"].subscriber(topic)
    async def handle(body: str) -> None:
        delivered.append(body)

    with names["timers"] as timers:
        timers.schedule("x", topic)
        async with names["broker"]:
            await wait_until_async(lambda: delivered == ["x"])
            await wait_until_async(lambda: timers.count_pending(topic) == 0)
