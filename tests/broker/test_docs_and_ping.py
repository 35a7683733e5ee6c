"""FastStream's tools on a broker of timers: `faststream docs`, "Try it out", `make_ping_asgi`."""

import asyncio
import json
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from datetime import timedelta

import pytest
import yaml
from command_line import LONGEST, ROOT, environment
from faststream.asgi import AsgiFastStream, AsyncAPIRoute, make_ping_asgi
from faststream.exceptions import FeatureNotSupportedException
from inside import kill_loop
from waiting import wait_until

from faststream_redis_timers import TestTimersBroker, TimersBroker, TimersRouter
from faststream_redis_timers.annotations import TimerBatchMessage, TimerMessage

HOUR = timedelta(hours=1)


async def ask(app, path, body=None):
    """Send an ASGI app a request, without a server; give the status and what it answers."""
    sent = []
    scope = {
        "type": "http",
        "method": "GET" if body is None else "POST",
        "path": path,
        "headers": [],
        "query_string": b"",
    }

    async def receive():
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    start, answer = sent
    return start["status"], answer["body"]


# --- faststream docs ---------------------------------------------------------------------

APP = "examples.quickstart:app"
DOCS = [sys.executable, "-m", "faststream", "docs"]


async def run(*words):
    """Run a program to its end; give its output."""
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=ROOT,
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(LONGEST):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_docs_gen_writes_json_and_yaml(tmp_path):
    files = tmp_path / "asyncapi.json", tmp_path / "asyncapi.yaml"

    await asyncio.gather(
        run(*DOCS, "gen", APP, "--out", str(files[0])),
        run(*DOCS, "gen", APP, "--out", str(files[1]), "--yaml"),
    )

    as_json, as_yaml = json.loads(files[0].read_text()), yaml.safe_load(files[1].read_text())
    assert as_json["asyncapi"] == "3.0.0"
    assert as_json["channels"]["example-invoices:Remind"]["address"] == "example-invoices"
    assert as_yaml == as_json


def test_docs_serve_shows_the_page(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def page():
        # It listens once its modules are imported.
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=LONGEST) as answer,
        ):
            return answer.read().decode()

    output = tmp_path / "output"
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [*DOCS, "serve", APP, "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_until(lambda: page() or process.poll() is not None, timeout=LONGEST)
            assert process.poll() is None, output.read_text()
            assert "example-invoices:Remind" in page()
        finally:
            process.kill()


# --- try it out --------------------------------------------------------------------------


def form(channel, message, *, real=False):
    """Make what the page sends when somebody tries a channel out."""
    return {
        "channelName": channel,
        "message": {"operation_id": "x", "operation_type": "send", "message": message},
        "options": {"sendToRealBroker": real},
    }


async def keys_of(app):
    """Give the keys of the channels that the page shows."""
    _, document = await ask(app, "/docs.json")
    return json.loads(document)["channels"].keys()


async def try_out(app, channel, message, **options):
    assert channel in await keys_of(app)
    status, answer = await ask(app, "/docs/try", form(channel, message, **options))
    return status, json.loads(answer)


@pytest.fixture
def answering():
    """Give a broker, without a server, that answers with the topic and what it was sent."""
    broker = TimersBroker(prefix="acme:")

    @broker.subscriber("invoices")
    async def plain(body: int, message: TimerMessage) -> list:
        return [message.topic, body]

    router = TimersRouter(prefix="my-service:")

    @router.subscriber("invoices")
    async def routed(body: int, message: TimerMessage) -> list:
        return [message.topic, body]

    @router.subscriber("trials", title="Trials")
    async def titled(body: int, message: TimerMessage) -> list:
        return [message.topic, body]

    @broker.subscriber("eu/orders")
    async def with_a_slash(body: int, message: TimerMessage) -> list:
        return [message.topic, body]

    broker.include_router(router)
    broker.publisher("paid", schema=int)
    return broker


@pytest.mark.parametrize(
    ("channel", "topic"),
    [
        ("acme.invoices:Plain", "acme:invoices"),
        ("acme.my-service.invoices:Routed", "acme:my-service:invoices"),
        ("acme.eu.orders:WithASlash", "acme:eu/orders"),
        ("Trials", "acme:my-service:trials"),
    ],
)
async def test_try_it_out_calls_the_handler_of_its_channel(answering, channel, topic):
    app = AsgiFastStream(answering, asyncapi_path="/docs")

    assert await try_out(app, channel, 7) == (200, [topic, 7])


async def test_try_it_out_takes_a_list_for_a_handler_of_batches():
    broker = TimersBroker()

    @broker.subscriber("invoices", batch=True)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> list:
        return [message.topic, bodies, len(message.timers)]

    app = AsgiFastStream(broker, asyncapi_path="/docs")

    assert await try_out(app, "invoices:Handle", [7, 8]) == (200, ["invoices", [7, 8], 2])
    assert await try_out(app, "invoices:Handle", 7) == (200, ["invoices", [7], 1])


async def test_try_it_out_takes_what_is_published_too(answering):
    app = AsgiFastStream(answering, asyncapi_path="/docs")

    assert await try_out(app, "acme.paid:Publisher", 7) == (200, "ok")


async def test_try_it_out_says_what_went_wrong(answering):
    app = AsgiFastStream(answering, asyncapi_path="/docs")

    status, answer = await ask(app, "/docs/try", form("unknown:Handle", 7))
    assert status == 404
    assert b"unknown" in answer
    status, answer = await ask(app, "/docs/try", form("acme.invoices:Plain", "no number"))
    assert status == 500
    assert b"valid integer" in answer


async def test_try_it_out_finds_the_broker_among_several(answering):
    other = TimersBroker("redis://other")

    @other.subscriber("reports")
    async def report(body: int) -> str:
        return "other"

    app = AsgiFastStream(answering, other, asyncapi_path=AsyncAPIRoute("/docs"))

    assert await try_out(app, "reports:Report", 7) == (200, "other")
    assert await try_out(app, "Trials", 7) == (200, ["acme:my-service:trials", 7])


async def test_try_it_out_leaves_a_running_worker_and_its_server_alone(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber("invoices")
    async def handle(body: int) -> int:
        inbox.put(body)
        await broker.publish(body, "archive", timer_id="later", activate_in=HOUR)
        return body

    app = AsgiFastStream(broker, asyncapi_path="/docs")
    async with broker:
        assert await try_out(app, "invoices:Handle", 7) == (200, 7)
        assert inbox.rest() == [7]
        assert not await broker.has_pending("archive", "later")

        assert await try_out(app, "invoices:Handle", 8, real=True) == (200, "ok")
        assert await inbox.get() == 8
        assert await broker.ping()
        assert await broker.cancel_all("archive") == 1


async def test_while_a_handler_is_tried_out_other_handlers_schedule_for_real(make_broker):
    broker = make_broker()
    is_tried, has_scheduled = asyncio.Event(), asyncio.Event()

    @broker.subscriber("invoices")
    async def real(body: int) -> None:
        await is_tried.wait()
        await broker.publish(body, "archive", timer_id="by the real one", activate_in=HOUR)
        await broker.cancel_timer("archive", "to be cancelled")
        has_scheduled.set()

    @broker.subscriber("trials")
    async def tried(body: int) -> None:
        is_tried.set()
        await has_scheduled.wait()
        await broker.publish(body, "archive", timer_id="by the tried one", activate_in=HOUR)

    app = AsgiFastStream(broker, asyncapi_path="/docs")
    async with broker:
        await broker.publish(1, "archive", timer_id="to be cancelled", activate_in=HOUR)
        await broker.publish(7, "invoices")
        assert await try_out(app, "trials:Tried", 8) == (200, "ok")

        assert await broker.get_pending_timers("archive") == ["by the real one"]
        await broker.cancel_all("archive")


# --- request-reply -----------------------------------------------------------------------


async def test_request_is_no_feature_of_timers_and_says_what_is(make_broker):
    broker = make_broker()
    publisher = broker.publisher("invoices")
    await broker.connect()

    for request in (broker.request("x", "invoices"), publisher.request("x")):
        with pytest.raises(FeatureNotSupportedException, match=r"Publish with reply_to="):
            await request
    assert await broker.count_pending("invoices") == 0


async def test_request_answers_in_a_test_as_it_does_for_the_page(answering):
    async with TestTimersBroker(answering) as broker:
        response = await broker.request(7, "invoices", correlation_id="c-1")

        assert await response.decode() == ["acme:invoices", 7]
        assert response.correlation_id == "c-1"


@pytest.mark.parametrize("bodies", [[], [1, 2, 3]])
async def test_a_request_has_as_many_bodies_as_a_batch_may_have(make_broker, bodies):
    broker = make_broker()

    @broker.subscriber("invoices", batch=True, max_records=2)
    async def handle(bodies: list[int]) -> int:
        raise AssertionError

    async with TestTimersBroker(broker):
        with pytest.raises(ValueError, match=rf"list of {len(bodies)} bodies, but .* takes 1 to 2"):
            await broker.request(bodies, "invoices")


# --- health ------------------------------------------------------------------------------


async def test_ping_asgi_reports_that_a_delivery_loop_has_died(make_broker):
    broker = make_broker(logger=None)

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    app = AsgiFastStream(broker, asgi_routes=[("/health", make_ping_asgi(broker, timeout=5.0))])
    async with broker:
        assert (await ask(app, "/health"))[0] == 204
        await kill_loop(broker.subscribers[0])

        assert (await ask(app, "/health"))[0] == 500

    # Stopped on purpose, it is not well either.
    assert (await ask(app, "/health"))[0] == 500
