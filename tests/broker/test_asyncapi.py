"""AsyncAPI documents: they can be made, they name topics, and they tell no password."""

import json

import pytest
import redis.asyncio
from faststream.specification import AsyncAPI
from pydantic import BaseModel

from faststream_redis_timers import TimersBroker, TimersRoute, TimersRoutePublisher, TimersRouter

SECRET = "s3cret"  # noqa: S105  no real one


class Invoice(BaseModel):
    number: int


def described(broker, version):
    """Make the document of a broker with a subscriber, a publisher and a router."""

    @broker.subscriber("invoices", title="Invoices", description="All of them.")
    @broker.publisher("paid", schema=Invoice)
    async def handle(invoice: Invoice) -> Invoice:
        """Handle an invoice."""

    async def route(body: str) -> None:
        """Handle a text."""

    broker.include_router(
        TimersRouter(
            prefix="my-service:",
            handlers=[TimersRoute(route, "texts", publishers=[TimersRoutePublisher("out")])],
        )
    )

    @broker.subscriber("hidden", include_in_schema=False)
    async def hidden(body: str) -> None:
        pass

    return AsyncAPI(broker, schema_version=version).to_specification().to_json()


@pytest.fixture(params=["2.6.0", "3.0.0"])
def version(request):
    return request.param


def test_a_document_names_topics_messages_and_server(version):
    document = described(TimersBroker("redis://host:7000/1"), version)
    parsed = json.loads(document)

    assert parsed["asyncapi"] == version
    assert "Invoices" in parsed["channels"]
    for text in ("my-service:texts", "my-service:out", "paid", "All of them.", "Handle a text."):
        assert text in document
    assert "hidden" not in document
    assert "Invoice" in parsed["components"]["schemas"]
    (server,) = parsed["servers"].values()
    assert "host:7000" in (server["url"] if version == "2.6.0" else server["host"])
    assert server["protocol"] == "redis"


def test_a_document_can_be_made_without_a_client(version):
    assert "localhost:6379" in described(TimersBroker(), version)


@pytest.mark.parametrize(
    "client",
    [
        f"redis://:{SECRET}@host:7000/1",
        f"redis://user:{SECRET}@host",
        f"rediss://user:{SECRET}@host",
        f"redis://{SECRET}@host",
        f"redis://host?password={SECRET}&username=user",
        f"unix://user:{SECRET}@/tmp/redis.sock?db=1",
        f"unix:///tmp/redis.sock?password={SECRET}",
        f"redis://user:%40{SECRET}@host",
        f"redis://user:{SECRET}@@host",
        f"redis://host#{SECRET}",
        redis.asyncio.Redis(host="host", password=SECRET, username=SECRET),
        redis.asyncio.Redis.from_url(f"redis://user:{SECRET}@host"),
        redis.asyncio.Redis(unix_socket_path="/tmp/redis.sock", password=SECRET),  # noqa: S108
    ],
    ids=lambda client: client if isinstance(client, str) else None,
)
def test_no_document_tells_the_password(version, client):
    broker = TimersBroker(client)

    document = described(broker, version)

    assert SECRET not in document
    assert "host" in document or "/tmp/redis.sock" in document  # noqa: S108
    assert SECRET not in str(broker.specification)


def test_the_server_can_be_described_by_hand(version):
    broker = TimersBroker(
        f"redis://:{SECRET}@host",
        specification_url="redis://timers.example:6379",
        protocol="rediss",
        protocol_version="8.0",
        description="Our timers.",
        tags=[{"name": "durable"}],
    )

    document = described(broker, version)

    for text in ("timers.example:6379", "rediss", "8.0", "Our timers.", "durable"):
        assert text in document
    assert SECRET not in document
