"""A cluster that speaks TLS alone, to clients with a certificate and a password."""

import os
import shutil
import ssl
from datetime import timedelta
from functools import partial

import pytest
import redis
import redis.asyncio
import trustme
from bench import NO_POLLS
from clusters import TLS, Cluster
from faststream.security import SASLPlaintext
from waiting import wait_until_async

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient

USER, PASSWORD = "worker", "s3cret"
TOPICS = ("invoices", "orders", "trials", "mails")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1", "localhost")
    files = TLS(folder / "ca.pem", folder / "own.pem", folder / "own.key")
    authority.cert_pem.write_to_path(files.ca)
    own.cert_chain_pems[0].write_to_path(files.certificate)
    own.private_key_pem.write_to_path(files.key)
    return files


@pytest.fixture(scope="module")
def cluster(certificates):
    binary = shutil.which("redis-server")
    if binary is None and os.environ.get("CI") != "true":
        pytest.skip("there is no redis-server here, and the embedded one has no TLS")
    with Cluster(binary, tls=certificates, config={"cluster-node-timeout": "10000"}) as cluster:
        for node in cluster.nodes:
            node.ask("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")
            # From here on nobody gets in without a name; who is in stays.
            node.ask("ACL", "SETUSER", "default", "resetpass", ">only-for-nodes")
        yield cluster


def options_of(certificates):
    return {
        "ssl_ca_certs": str(certificates.ca),
        "ssl_certfile": str(certificates.certificate),
        "ssl_keyfile": str(certificates.key),
        "ssl_check_hostname": True,
    }


def url_of(cluster, certificates, scheme="rediss+cluster", nodes=2):
    hosts = ",".join(node.address for node in cluster.nodes[:nodes])
    pairs = options_of(certificates).items()
    query = "&".join(f"{key}={value}" for key, value in pairs if key != "ssl_check_hostname")
    return f"{scheme}://{USER}:{PASSWORD}@{hosts}?{query}"


def given(cluster, certificates, client_class):
    node = cluster.nodes[0]
    return client_class(
        host="127.0.0.1",
        port=node.port,
        username=USER,
        password=PASSWORD,
        ssl=True,
        **options_of(certificates),
    )


def brokers(cluster, certificates):
    context = ssl.create_default_context(cafile=certificates.ca)
    context.load_cert_chain(certificates.certificate, certificates.key)
    bare = f"redis+cluster://{cluster.nodes[0].address}"
    security = SASLPlaintext(USER, PASSWORD, ssl_context=context)
    yield "url", partial(TimersBroker, url_of(cluster, certificates))
    yield "context", partial(TimersBroker, bare, security=security)
    client = given(cluster, certificates, redis.asyncio.RedisCluster)
    yield "client", partial(TimersBroker, client, hash_tags=True)


@pytest.mark.parametrize("way", ["url", "context", "client"])
async def test_a_worker_and_a_producer_work_over_tls_and_so_do_wake_ups(
    way, cluster, certificates, key_names
):
    broker = dict(brokers(cluster, certificates))[way](**key_names)
    delivered = []

    async def handle(body: str) -> None:
        delivered.append(body)

    for topic in TOPICS:
        # It never polls: only a wake-up can bring what is scheduled later.
        broker.subscriber(topic, **NO_POLLS)(handle)
    client = await broker.connect()
    async with broker:
        await wait_until_async(lambda: broker.config.connection.wake_ups.are_heard)
        for topic in TOPICS:
            await broker.publish(topic, topic, activate_in=timedelta(seconds=0.05))
        await wait_until_async(lambda: sorted(delivered) == sorted(TOPICS))
        assert PASSWORD not in str(broker.specification.url)
    await client.aclose()


@pytest.mark.parametrize("way", ["url", "client"])
def test_a_blocking_client_schedules_and_looks_over_tls(way, cluster, certificates, key_names):
    if way == "url":
        timers = TimersClient(url_of(cluster, certificates), **key_names)
    else:
        client = given(cluster, certificates, redis.RedisCluster)
        timers = TimersClient(client, hash_tags=True, **key_names)
    with timers:
        for topic in TOPICS:
            timers.schedule("x" * 100_000, topic, timer_id="1", activate_in=timedelta(hours=1))
            assert timers.get_timer(topic, "1").decode() == "x" * 100_000
            assert timers.cancel_all(topic) == 1
    if way == "client":
        client.close()


def test_a_wrong_password_is_told_at_once_and_not_repeated(cluster, certificates):
    url = url_of(cluster, certificates).replace(PASSWORD, "wrong-one")
    with TimersClient(url) as timers, pytest.raises(redis.AuthenticationError) as raised:
        timers.schedule("x", "invoices")
    assert "wrong-one" not in str(raised.value)
