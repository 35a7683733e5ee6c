"""`security=`: user, password and TLS of a client made from a URL, and what documents say of it."""

import asyncio
import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager, suppress

import pytest
import redis.asyncio
from faststream.security import (
    SASLGSSAPI,
    BaseSecurity,
    SASLOAuthBearer,
    SASLPlaintext,
    SASLScram256,
    SASLScram512,
)
from faststream.specification import AsyncAPI
from redis.asyncio.connection import SSLConnection, parse_url
from waiting import wait_until_async

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient

SECRET = "s3cret"  # noqa: S105  no real one


@pytest.fixture
def user(redis_client, key_names):
    """A user of the server, with a password."""
    name = key_names["timeline_key"]
    redis_client.acl_setuser(
        name,
        enabled=True,
        passwords=[f"+{SECRET}"],
        keys=["*"],
        channels=["*"],
        commands=["+@all"],
        reset=True,
    )
    yield name
    redis_client.acl_deluser(name)


async def passes_a_timer(broker, inbox):
    """Start a broker with a handler, and let a timer go through."""

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        inbox.put(body)

    async with broker:
        await broker.publish("x", "invoices")
        assert await inbox.get() == "x"


# --- user and password -------------------------------------------------------------------


async def test_user_and_password_are_those_of_the_connections(server_url, make_broker, user, inbox):
    broker = make_broker(server_url, security=SASLPlaintext(user, SECRET))

    client = await broker.connect()

    assert (await client.acl_whoami()) in {user, user.encode()}
    await passes_a_timer(broker, inbox)


async def test_they_win_over_those_of_the_url(server_url, make_broker, user):
    separator = "&" if "?" in server_url else "?"
    url = f"{server_url}{separator}username=nobody&password=wrong"
    broker = make_broker(url, security=SASLPlaintext(user, SECRET))

    client = await broker.connect()

    assert (await client.acl_whoami()) in {user, user.encode()}


async def test_a_wrong_password_is_told_without_showing_it(server_url, make_broker, user):
    broker = make_broker(
        server_url, security=SASLPlaintext(user, f"not {SECRET}"), start_timeout=0.2
    )

    with pytest.raises(TimeoutError, match=r"WRONGPASS|invalid username") as caught:
        await broker.start()

    assert SECRET not in str(caught.value)


async def test_with_a_client_it_changes_nothing(client, make_broker):
    broker = make_broker(security=SASLPlaintext("nobody", SECRET))

    assert await broker.connect() is client
    assert (await client.acl_whoami()) in {"default", b"default"}


# --- TLS ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Files of a certificate for localhost, which is its own authority, and of its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("certificate")
    files = folder / "certificate.pem", folder / "key.pem"
    options = {
        "-newkey": "ec",
        "-pkeyopt": "ec_paramgen_curve:prime256v1",
        "-out": files[0],
        "-keyout": files[1],
        "-subj": "/CN=test",
    }
    extensions = (
        "subjectAltName=DNS:localhost",
        "basicConstraints=critical,CA:TRUE",
        "keyUsage=critical,digitalSignature,keyCertSign",
    )
    command = ["openssl", "req", "-x509", "-nodes"]
    command += [word for option in options.items() for word in option]
    command += [word for extension in extensions for word in ("-addext", extension)]
    subprocess.run(command, check=True, capture_output=True)
    return files


@asynccontextmanager
async def tls_before(server_url, certificate):
    """Listen with TLS on a port of localhost, and pass on what comes to the server."""
    target = parse_url(server_url)
    carriers = set()

    async def carry(reader, writer):
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def serve(reader, writer):
        if "path" in target:
            server = await asyncio.open_unix_connection(target["path"])
        else:
            server = await asyncio.open_connection(
                target.get("host", "localhost"), target.get("port", 6379)
            )
        for carrier in (carry(reader, server[1]), carry(server[0], writer)):
            carriers.add(asyncio.create_task(carrier))

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    server = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if carriers:
            await asyncio.wait(carriers, timeout=10)


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_a_context_secures_all_connections(
    server_url, make_broker, certificate, user, inbox, scheme
):
    trusting = ssl.create_default_context(cafile=certificate[0])
    async with tls_before(server_url, certificate) as port:
        security = SASLPlaintext(user, SECRET, ssl_context=trusting)
        broker = make_broker(f"{scheme}://localhost:{port}", security=security)

        client = await broker.connect()
        assert (await client.acl_whoami()) in {user, user.encode()}
        await passes_a_timer(broker, inbox)

        # That of wake-ups is beside the pool.
        await broker.start()

        async def is_listening():
            ((_, count),) = await broker._connection.pubsub_numsub(f"{user}:invoices")
            return count == 1

        await wait_until_async(is_listening)
        await broker.stop()


async def test_without_a_context_the_server_s_certificate_must_be_known(
    server_url, make_broker, certificate
):
    async with tls_before(server_url, certificate) as port:
        broker = make_broker(
            f"redis://localhost:{port}", security=BaseSecurity(use_ssl=True), start_timeout=0.3
        )

        with pytest.raises(TimeoutError) as caught:
            await broker.start()

    assert ssl.SSLCertVerificationError in {type(error) for error in causes(caught.value)}


def causes(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_without_a_context_the_server_s_name_must_fit(scheme):
    broker = TimersBroker(f"{scheme}://localhost", security=BaseSecurity(use_ssl=True))

    pool = (await broker.connect()).connection_pool

    assert issubclass(pool.connection_class, SSLConnection)
    assert pool.connection_kwargs["ssl_check_hostname"] is True
    await broker.stop()


async def test_what_the_url_says_of_certificates_stands():
    broker = TimersBroker(
        "rediss://localhost?ssl_check_hostname=no&ssl_cert_reqs=none",
        security=SASLPlaintext("user", SECRET, use_ssl=True),
    )

    options = (await broker.connect()).connection_pool.connection_kwargs

    assert options["ssl_cert_reqs"] == "none"
    assert options["ssl_check_hostname"] in {False, "no"}
    await broker.stop()


async def test_a_host_is_not_checked_where_its_certificate_is_not():
    broker = TimersBroker(
        "rediss://localhost?ssl_cert_reqs=none", security=BaseSecurity(use_ssl=True)
    )

    pool = (await broker.connect()).connection_pool

    # redis-py makes the context when it connects, and refuses one check without the other.
    pool.make_connection().ssl_context.get()
    await broker.stop()


@pytest.mark.parametrize("make", [TimersBroker, TimersClient])
@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3/cret@host:6379/0",
        "redis://user:s3#cret@host/0",
        "redis://user:s3?cret@host/0",
        "redis://user:s3cret",
    ],
)
def test_a_url_that_is_torn_by_its_password_is_refused_without_a_part_of_it(make, url):
    with pytest.raises(ValueError, match="can't be read: write redis://USER:PASSWORD") as caught:
        make(url)

    assert "s3" not in str(caught.value)
    assert caught.value.__cause__ is None


# --- what is refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "security",
    [
        SASLScram256("user", SECRET),
        SASLScram512("user", SECRET),
        SASLOAuthBearer(),
        SASLGSSAPI(),
        ("user", SECRET),
    ],
    ids=lambda security: type(security).__name__,
)
def test_what_redis_does_not_know_is_refused_with_a_url(security):
    with pytest.raises(TypeError) as caught:
        TimersBroker("redis://localhost", security=security)

    assert f"SASLPlaintext, got {type(security).__name__}" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_tls_is_refused_on_a_unix_socket():
    with pytest.raises(ValueError, match="Unix socket, which can't use TLS"):
        TimersBroker("unix:///tmp/redis.sock", security=BaseSecurity(use_ssl=True))


# --- documents ---------------------------------------------------------------------------

CLIENTS = {
    "a URL": lambda: f"redis://other:{SECRET}@host:7000",
    "a client": lambda: redis.asyncio.Redis(host="host", port=7000),
    "none": lambda: None,
}


@pytest.mark.parametrize("version", ["2.6.0", "3.0.0"])
@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS)
def test_documents_name_the_kind_of_security_and_neither_user_nor_password(make, version):
    broker = TimersBroker(make(), security=SASLPlaintext("somebody", SECRET))
    broker.subscriber("invoices")

    document = AsyncAPI(broker, schema_version=version).to_specification().to_json()

    assert "userPassword" in document
    for text in (document, str(broker.specification), repr(broker)):
        assert SECRET not in text
        assert "somebody" not in text


@pytest.mark.parametrize(
    ("url", "security", "protocol"),
    [
        ("redis://host", None, "redis"),
        ("rediss://host", None, "rediss"),
        ("redis://host", BaseSecurity(use_ssl=True), "rediss"),
        ("redis://host", SASLPlaintext("u", "p"), "redis"),
        ("redis://host", BaseSecurity(ssl_context=ssl.create_default_context()), "rediss"),
        ("unix:///tmp/redis.sock", None, "redis"),
    ],
)
def test_the_protocol_is_that_of_the_connections(url, security, protocol):
    specification = TimersBroker(url, security=security).specification

    assert specification.protocol == protocol
    assert specification.url[0].startswith(f"{url.partition(':')[0][:4]}")
