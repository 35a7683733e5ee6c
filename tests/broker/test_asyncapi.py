"""AsyncAPI documents: what they say of server, channels and messages, and never a password.

The structure is compared with that of the documents of FastStream's own Redis broker.
"""

import json
from typing import Any
from urllib.parse import unquote

import pytest
import redis.asyncio
from faststream.redis import RedisBroker, RedisPublisher, RedisRoute, RedisRouter
from faststream.security import BaseSecurity, SASLPlaintext
from faststream.specification import AsyncAPI
from pydantic import BaseModel
from redis.asyncio.sentinel import Sentinel

from faststream_redis_timers import TimersBroker, TimersRoute, TimersRoutePublisher, TimersRouter
from faststream_redis_timers.annotations import TimerBatchMessage

SECRET = "s3cret"  # noqa: S105  no real one
SOCKET = "/var/run/redis.sock"


class Invoice(BaseModel):
    number: int


@pytest.fixture(params=["2.6.0", "3.0.0"])
def version(request):
    return request.param


def text_of(version, *brokers):
    """Make the document of brokers."""
    return AsyncAPI(*brokers, schema_version=version).to_specification().to_json()


def document_of(version, *brokers):
    """Make the document of brokers, check that its parts fit together, and read it."""
    document = json.loads(text_of(version, *brokers))
    assert document["asyncapi"] == version
    for pointer in references_in(document):
        assert_leads_somewhere(document, pointer)
    return document


def references_in(part):
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references_in(value)
    elif isinstance(part, list):
        for value in part:
            yield from references_in(value)


def assert_leads_somewhere(document, pointer):
    assert pointer.startswith("#/")
    part = document
    for name in unquote(pointer[2:]).split("/"):
        assert name in part, pointer
        part = part[name]


def payloads_of(document):
    return document["components"]["schemas"]


# --- as FastStream's own ------------------------------------------------------------------


def registered(broker, name, router, route, route_publisher):
    """Give a broker all sorts of handlers; `name` says where they listen and publish."""

    @broker.subscriber(**name("invoices"), title="Invoices", description="All of them.")
    @broker.publisher(**name("paid"), schema=Invoice, title="Paid", description="Of the day.")
    async def handle(invoice: Invoice) -> Invoice:
        """Handle an invoice."""

    filtered = broker.subscriber(**name("events"))

    @filtered(filter=lambda message: message.content_type == "application/json")
    async def handle_event(event: dict[str, int]) -> None:
        """Handle an event."""

    @filtered
    async def handle_text(text: str) -> None:
        pass

    @broker.subscriber(**name("untyped"))
    @broker.publisher(**name("results"))
    async def handle_anything(body):
        pass

    broker.subscriber(**name("nobody"))

    @broker.subscriber(**name("hidden"), include_in_schema=False)
    @broker.publisher(**name("hidden too"), include_in_schema=False)
    async def hidden(body: str) -> None:
        pass

    async def route_text(body: str, count: int = 3) -> list[Invoice]:
        """Handle a text."""

    inner = router(
        prefix="eu/",
        handlers=[route(route_text, **name("texts"), publishers=[route_publisher(**name("out"))])],
    )
    broker.include_router(router(prefix="shop-", routers=[inner]))
    broker.include_router(
        router(
            prefix="private-", handlers=[route(route_text, **name("x"))], include_in_schema=False
        )
    )
    return broker


def without_what_differs(document):
    """Leave out the server and what is said of keys and commands."""
    for channel in document["channels"].values():
        binding = channel.pop("bindings")["redis"]
        assert binding.keys() == {"bindingVersion", "channel", "method"}
    del document["servers"]
    return document


def test_the_structure_is_that_of_faststreams_own_redis_broker(version):
    ours = registered(
        TimersBroker(),
        lambda name: {"topic": name},
        TimersRouter,
        TimersRoute,
        TimersRoutePublisher,
    )
    theirs = registered(
        RedisBroker(), lambda name: {"list": name}, RedisRouter, RedisRoute, RedisPublisher
    )

    document = document_of(version, ours)
    text = json.dumps(document)

    assert "hidden" not in text
    assert "private" not in text
    for words in ("All of them.", "Of the day.", "Handle an event.", "Handle a text."):
        assert words in text
    assert without_what_differs(document) == without_what_differs(document_of(version, theirs))


# --- channels and messages ---------------------------------------------------------------


def test_the_payload_of_a_batch_is_an_array(version):
    broker = TimersBroker()

    @broker.subscriber("single")
    async def single(invoice: Invoice) -> None:
        """Do nothing."""

    @broker.subscriber("batch", batch=True)
    async def batch(invoices: list[Invoice], message: TimerBatchMessage) -> None:
        """Do nothing."""

    document = document_of(version, broker)
    (payload,) = [one for one in payloads_of(document).values() if one.get("type") == "array"]
    assert payload["items"] == {"$ref": "#/components/schemas/Invoice"}
    assert [name for name in document["channels"] if "Batch" in name] == ["batch:Batch"]


def test_titles_and_descriptions_are_honoured(version):
    broker = TimersBroker()

    @broker.subscriber("invoices", title="Invoices", description="All of them.")
    @broker.publisher("paid", title="Paid", description="Of the day.", schema=Invoice)
    async def handle(number: int) -> Any:
        """Not this one."""

    document = document_of(version, broker)

    channels = document["channels"]
    assert {key: channel["description"] for key, channel in channels.items()} == {
        "Invoices": "All of them.",
        "Paid": "Of the day.",
    }
    assert payloads_of(document)["Invoice"]["properties"]["number"]["type"] == "integer"
    assert payloads_of(document)["Invoices:Message:Payload"]["type"] == "integer"


def test_without_a_title_the_handler_names_the_channel_and_its_docstring_says_more(version):
    broker = TimersBroker()

    @broker.subscriber("invoices")
    async def send_reminder(number: int) -> None:
        """Send a reminder."""

    document = document_of(version, broker)

    (key,) = document["channels"]
    assert key == "invoices:SendReminder"
    assert document["channels"][key]["description"] == "Send a reminder."


def test_prefixes_stand_in_addresses_and_as_dots_in_keys(version):
    """A key is cut at its first colon by "Try it out", which needs all of the topic."""
    broker = TimersBroker(prefix="acme:")
    router = TimersRouter(prefix="my-service:")

    @router.subscriber("invoices")
    @router.publisher("paid")
    async def handle(number: int) -> int:
        pass

    broker.include_router(router)
    document = document_of(version, broker)

    subscribed, published = "acme.my-service.invoices:Handle", "acme.my-service.paid:Publisher"
    assert document["channels"].keys() == {subscribed, published}
    # Before 3.0 there are no addresses.
    if version == "3.0.0":
        channels = document["channels"]
        assert channels[subscribed]["address"] == "acme:my-service:invoices"
        assert channels[published]["address"] == "acme:my-service:paid"


def test_bindings_name_the_key_in_redis(version):
    broker = TimersBroker(timeline_key="due", prefix="acme:")

    @broker.subscriber("invoices")
    @broker.publisher("paid")
    async def handle(number: int) -> int:
        pass

    channels = document_of(version, broker)["channels"]

    bindings = [channel["bindings"]["redis"] for channel in channels.values()]
    assert [(binding["channel"], binding["method"]) for binding in bindings] == [
        ("due:acme:invoices", "zrange"),
        ("due:acme:paid", "zadd"),
    ]


def test_bindings_name_the_key_with_its_hash_tag(version):
    broker = TimersBroker(prefix="acme:", hash_tags=True)
    broker.publisher("invoices:dead", schema=int)

    (channel,) = document_of(version, broker)["channels"].values()

    assert channel["bindings"]["redis"]["channel"] == "timers_timeline:{acme:invoices}:dead"


def test_two_brokers_share_a_document_and_each_channel_names_its_server(version):
    first, second = TimersBroker("redis://one"), TimersBroker("redis://two")
    first.subscriber("invoices")
    second.subscriber("trials")

    document = document_of(version, first, second)

    assert len(document["servers"]) == 2
    servers = [channel["servers"] for channel in document["channels"].values()]
    as_reference = version == "3.0.0"
    assert servers == [
        [{"$ref": f"#/servers/{name}"} if as_reference else name] for name in document["servers"]
    ]


# --- the server --------------------------------------------------------------------------


def server_of(document):
    """Give the server's URL, from its parts where it has parts."""
    (server,) = document["servers"].values()
    if "url" in server:
        return server["url"]
    return f"{server['host']}{server['pathname']}"


def sentinel_client():
    sentinel = Sentinel(
        [("one", 26379), ("two", 26380)],
        sentinel_kwargs={"password": SECRET},
        username="user",
        password=SECRET,
    )
    return sentinel.master_for("primary", db=1)


def blocking_pool_client():
    pool = redis.asyncio.BlockingConnectionPool(host="host", port=7000, password=SECRET)
    return redis.asyncio.Redis(connection_pool=pool)


SERVERS = {
    "nothing": (lambda: None, "redis://localhost:6379", "redis"),
    "a URL": (lambda: f"redis://user:{SECRET}@host:7000/1", "redis://host:7000/1", "redis"),
    "a URL with a password": (lambda: f"redis://:{SECRET}@host", "redis://host:6379", "redis"),
    "a URL with a user": (lambda: f"redis://{SECRET}@host", "redis://host:6379", "redis"),
    "a URL with options": (
        lambda: f"redis://host?password={SECRET}&username=user",
        "redis://host:6379",
        "redis",
    ),
    "a URL with an @ too many": (
        lambda: f"redis://user:{SECRET}@@host",
        "redis://host:6379",
        "redis",
    ),
    "a URL with an escape": (lambda: f"redis://u:%40{SECRET}@host", "redis://host:6379", "redis"),
    "a URL with a fragment": (lambda: f"redis://host#{SECRET}", "redis://host:6379", "redis"),
    "a URL of IPv6": (lambda: f"redis://:{SECRET}@[::1]:7000", "redis://[::1]:7000", "redis"),
    "a URL without a host": (lambda: "redis://", "redis://localhost:6379", "redis"),
    "TLS": (lambda: f"rediss://user:{SECRET}@host:7000", "rediss://host:7000", "rediss"),
    "a socket's URL": (
        lambda: f"unix://user:{SECRET}@{SOCKET}?db=1",
        f"unix://{SOCKET}",
        "redis",
    ),
    "a socket's URL with a password": (
        lambda: f"unix://{SOCKET}?password={SECRET}",
        f"unix://{SOCKET}",
        "redis",
    ),
    "a client": (
        lambda: redis.asyncio.Redis(host="host", port=7000, db=1, username="u", password=SECRET),
        "redis://host:7000/1",
        "redis",
    ),
    "a client of IPv6": (lambda: redis.asyncio.Redis(host="::1"), "redis://[::1]:6379", "redis"),
    "a client from a URL": (
        lambda: redis.asyncio.Redis.from_url(f"redis://user:{SECRET}@host"),
        "redis://host:6379",
        "redis",
    ),
    "a client with TLS": (
        lambda: redis.asyncio.Redis(host="host", ssl=True, password=SECRET),
        "rediss://host:6379",
        "rediss",
    ),
    "a client of a socket": (
        lambda: redis.asyncio.Redis(unix_socket_path=SOCKET, password=SECRET),
        f"unix://{SOCKET}",
        "redis",
    ),
    "a blocking pool": (blocking_pool_client, "redis://host:7000", "redis"),
    "Sentinel": (sentinel_client, "redis+sentinel://one:26379,two:26380/primary", "redis"),
}


@pytest.mark.parametrize("kind", SERVERS)
def test_the_server_is_that_of_the_client_and_its_password_is_not_told(version, kind):
    make, url, protocol = SERVERS[kind]
    broker = TimersBroker(make())
    broker.subscriber("invoices")

    document = document_of(version, broker)

    assert server_of(document) == (url if version == "2.6.0" else url.partition("://")[2])
    (server,) = document["servers"].values()
    assert server["protocol"] == protocol
    assert SECRET not in json.dumps(document)
    assert SECRET not in str(broker.specification)


def test_the_server_can_be_described_by_hand(version):
    broker = TimersBroker(
        f"redis://:{SECRET}@host",
        specification_url="rediss://timers.example:6379",
        protocol="redis-tls",
        protocol_version="8.0",
        description="Our timers.",
        tags=[{"name": "durable"}],
    )

    document = document_of(version, broker)

    assert server_of(document).endswith("timers.example:6379")
    (server,) = document["servers"].values()
    assert server["protocol"] == "redis-tls"
    assert server["protocolVersion"] == "8.0"
    assert server["description"] == "Our timers."
    assert server["tags"] == [{"name": "durable"}]
    assert "host" not in server_of(document)
    assert SECRET not in json.dumps(document)


@pytest.mark.parametrize("client", ["redis://host", redis.asyncio.Redis(host="host")])
def test_security_is_described_without_its_secrets(version, client):
    broker = TimersBroker(client, security=SASLPlaintext("somebody", SECRET))

    document = document_of(version, broker)

    assert document["components"]["securitySchemes"] == {"user-password": {"type": "userPassword"}}
    (server,) = document["servers"].values()
    as_reference = {"$ref": "#/components/securitySchemes/user-password"}
    assert server["security"] == [{"user-password": []} if version == "2.6.0" else as_reference]
    assert SECRET not in json.dumps(document)
    assert "somebody" not in json.dumps(document)


def test_tls_by_security_is_a_protocol_of_its_own(version):
    broker = TimersBroker("redis://host", security=BaseSecurity(use_ssl=True))

    document = document_of(version, broker)

    (server,) = document["servers"].values()
    assert server["protocol"] == "rediss"
