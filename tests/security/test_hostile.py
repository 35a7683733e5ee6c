"""Ids and topics with line breaks and escape codes: no forged line, no driven terminal."""

import ast
import asyncio
import re
from datetime import timedelta

import pytest
from bench import bench_at
from command_line import ROOT, click_runner
from faststream import AckPolicy
from faststream.exceptions import NackMessage
from planted import HOSTILE, assert_tame
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from waiting import wait_until_async

from faststream_redis_timers.prometheus import TimersPrometheusMiddleware
from faststream_redis_timers_sync import (
    TimerExistsError,
    TimerOutcomeUnknownError,
    TimerPublishMessage,
    TimersClient,
)
from faststream_redis_timers_sync.cli.group import group
from faststream_redis_timers_sync.prometheus import TimersCollector
from faststream_redis_timers_sync.protocol.envelope import MAGIC
from faststream_redis_timers_sync.testing import FakeTimersClient

HOUR = timedelta(hours=1)


@pytest.fixture
async def hostile(server_url, key_names):
    """A bench whose topic is hostile."""
    async with bench_at(server_url, key_names) as bench:
        bench.topic = f"topic{HOSTILE}"
        yield bench


def plant(bench, timer_id, payload=None):
    keys = bench.home.keys_of(bench.topic)
    if payload is not None:
        bench.redis.hset(keys.payloads, timer_id, payload)
    bench.redis.zadd(keys.timeline, {timer_id: 1})


async def until_logged(bench, text):
    await wait_until_async(lambda: any(text in r.getMessage() for r in bench.log.records))


@pytest.mark.leaks_keys
async def test_no_line_of_the_log_is_forged(hostile, key_names):
    bench = hostile
    broker = bench.broker()

    @broker.subscriber(bench.topic, ack_policy=AckPolicy.NACK_ON_ERROR)
    async def handle(body: str) -> None:
        if body == "nack":
            raise NackMessage(delay=HOSTILE)
        raise RuntimeError

    @broker.subscriber(f"by-hand{HOSTILE}", lease_ttl=0.05)
    async def never(body: str) -> None:
        await asyncio.sleep(0.2)

    plant(bench, f"orphan{HOSTILE}")
    plant(bench, b"\xff" + HOSTILE.encode(), b"x")
    plant(bench, f"unreadable{HOSTILE}", MAGIC + b"\0\7" + b"\0" * 20)
    bench.schedule(f"nack{HOSTILE}", "nack")
    bench.schedule(f"fails{HOSTILE}", "fails")
    await broker.start()
    for text in ("had no payload", "not UTF-8", "envelope has version", "invalid NackMessage"):
        await until_logged(bench, text)
    await until_logged(bench, "RuntimeError")

    await broker.stop()
    seen = [record for record in bench.log.records if "forged" in record.getMessage()]
    assert len(seen) >= 4
    for record in bench.log.records:
        assert_tame(record.getMessage())
        assert "\n" not in record.getMessage()
        for name in ("topic", "message_id"):
            assert_tame(f"{getattr(record, name, '')}".replace("\n", "\0"))


@pytest.mark.leaks_keys
async def test_what_is_logged_of_a_lost_lease_and_of_refused_wake_ups_is_tame(hostile):
    bench = hostile
    broker = bench.broker()
    timer_id = f"one{HOSTILE}"

    @broker.subscriber(bench.topic, lease_ttl=0.05, max_concurrent=1)
    async def handle(body: str) -> None:
        await wait_until_async(lambda: claimed)

    claimed = []
    bench.schedule(timer_id)
    async with broker:
        await wait_until_async(lambda: bench.is_leased(timer_id))

        def claims_it_too():
            step = bench.home.step(bench.topic, limit=1)
            claimed.extend(step.claimed)
            return claimed

        await wait_until_async(claims_it_too)
        await until_logged(bench, "outlived its lease")

    for record in bench.log.records:
        assert_tame(record.getMessage().replace("\n", "\0"))


async def test_refused_wake_ups_name_their_channel_tamely(hostile, redis_client, key_names):
    bench = hostile
    user = f"deaf-{key_names['timeline_key']}"
    redis_client.acl_setuser(
        user, enabled=True, nopass=True, keys=["*"], commands=["+@all"], reset_channels=True
    )
    try:
        broker = bench.broker(bench.home.server_url.replace("://", f"://{user}:x@"))
        broker.subscriber(bench.topic)(_nothing)
        async with broker:
            await until_logged(bench, "wake-ups are refused")
    finally:
        redis_client.acl_deluser(user)

    for line in bench.log.complaints:
        assert_tame(line.replace("\n", "\0"))


async def _nothing(body: str) -> None:
    pass


async def test_an_outage_of_a_hostile_topic_is_one_tame_line(closed_port, hostile):
    bench = hostile
    broker = bench.broker(f"redis://127.0.0.1:{closed_port}", start_timeout=0.2)
    broker.subscriber(bench.topic)(_nothing)
    with pytest.raises(TimeoutError):
        await broker.start()

    for record in bench.log.records:
        assert_tame(record.getMessage().replace("\n", "\0"))


@pytest.fixture
def closed_port(unused_tcp_port_factory):
    return unused_tcp_port_factory()


# --- errors

ERRORS = {
    "exists": lambda: TimerExistsError(HOSTILE, HOSTILE),
    "unknown": lambda: TimerOutcomeUnknownError("schedule", HOSTILE, (HOSTILE,)),
    "unknown, many": lambda: TimerOutcomeUnknownError("cancel", HOSTILE, (HOSTILE, "b")),
    "unknown, all": lambda: TimerOutcomeUnknownError("cancel all", HOSTILE, ()),
}


@pytest.mark.parametrize("make", ERRORS.values(), ids=ERRORS)
def test_errors_show_names_on_one_line(make):
    assert_tame(f"{make()} {make()!r}".replace("\n", "\0"))


WRONG = {
    "twice": lambda t: t.schedule_batch([TimerPublishMessage("x", timer_id=HOSTILE)] * 2, HOSTILE),
    "surrogate": lambda t: t.schedule("x", f"{HOSTILE}\ud800"),
    "header": lambda t: t.schedule("x", "t", headers={HOSTILE: object()}),
    "header's length": lambda t: t.schedule("x", "t", headers={HOSTILE: "x" * 70_000}),
    "if_exists": lambda t: t.schedule("x", "t", if_exists=HOSTILE),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_errors_about_arguments_are_tame(call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call(FakeTimersClient())

    assert_tame(str(caught.value).replace("\n", "\0"))


def test_notes_and_reprs_are_tame():
    timers = FakeTimersClient()
    with pytest.raises(Exception) as caught:
        timers.schedule(object(), HOSTILE)
    assert_tame(*(note.replace("\n", "\0") for note in caught.value.__notes__))

    timers.schedule("x", HOSTILE, timer_id=HOSTILE, headers={HOSTILE: HOSTILE})
    (timer,) = timers.iter_timers(HOSTILE)
    for thing in (timer, *timers.scheduled, TimerPublishMessage("x", timer_id=HOSTILE)):
        assert_tame(repr(thing).replace("\n", "\0"))


# --- the command line and Prometheus


COMMANDS = (
    ["topics"],
    ["stats"],
    ["stats", HOSTILE[:20]],
    ["list", "TOPIC"],
    ["list", "TOPIC", "--match", f"*{HOSTILE.replace(chr(0), '?')}*"],
    ["show", "TOPIC", "ID"],
    ["show", "TOPIC", "unknown\x1b[31m\n"],
    ["show", "nowhere\x1b[31m\n", "ID"],
    ["check", "--topic", "TOPIC"],
    ["reschedule", "TOPIC", "ID", "--in", "2h"],
    ["cancel", "TOPIC", "ID\x1b[31m\n", "ID"],
)


@pytest.mark.parametrize("words", COMMANDS, ids=range(len(COMMANDS)))
def test_the_command_line_is_tame(words, server_url, key_names):
    # No process can be given a NUL in an argument.
    names = {"TOPIC": f"topic{HOSTILE}".replace("\0", ""), "ID": f"id{HOSTILE}".replace("\0", "")}
    options = [w for k, v in key_names.items() for w in (f"--{k.replace('_', '-')}", v)]
    with TimersClient(server_url, **key_names) as timers:
        # A body is shown with its lines, below all else.
        body = f"body{HOSTILE}".replace("\n", "")
        headers = {HOSTILE: HOSTILE}
        timers.schedule(body, names["TOPIC"], timer_id=names["ID"], headers=headers,
                        activate_in=HOUR)  # fmt: skip
        words = [names.get(word, word) for word in words]
        for more in ([], ["--json"]):
            result = click_runner().invoke(
                group, ["--redis-url", server_url, *options, *words, *more]
            )
            assert result.exception is None or isinstance(result.exception, SystemExit)
            if not more:
                assert_tame(result.output)
            assert "\x1b" not in result.output
        timers.cancel_all(names["TOPIC"])


async def test_labels_of_prometheus_forge_no_sample(hostile):
    registry = CollectorRegistry()
    bench = hostile
    broker = bench.broker(middlewares=[TimersPrometheusMiddleware(registry=registry)])
    handled = asyncio.Event()

    @broker.subscriber(bench.topic)
    async def handle(body: str) -> None:
        handled.set()

    async with broker:
        bench.schedule(HOSTILE)
        await asyncio.wait_for(handled.wait(), 10)
        await bench.until_gone(HOSTILE)
    registry.register(TimersCollector(bench.client, [bench.topic]))

    text = generate_latest(registry).decode()

    assert not [line for line in text.split("\n") if line.startswith("2026-01-01 ERROR forged")]
    families = list(text_string_to_metric_families(text))
    topics = {
        value
        for family in families
        for sample in family.samples
        for name, value in sample.labels.items()
        if name in {"topic", "handler"}
    }
    assert topics == {bench.topic}


# --- the source: what shows a name escapes it


def texts_of(tree):
    """Give the f-strings that become a line of the log or an error's text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "msg" for t in node.targets
        ):
            yield from (found for found in ast.walk(node.value) if isinstance(found, ast.JoinedStr))
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if "log" in name or name in {"warning", "error", "info", "debug", "add_note"}:
                yield from (found for found in ast.walk(node) if isinstance(found, ast.JoinedStr))


def names_shown_raw(tree):
    for text in texts_of(tree):
        for part in text.values:
            if isinstance(part, ast.FormattedValue) and part.conversion != ord("r"):
                shown = part.value
                name = getattr(shown, "attr", getattr(shown, "id", ""))
                if re.search(r"(topic|timer_id|channel|header|prefix|match)$", name):
                    yield f"{name} in line {part.lineno}"


PACKAGES = ("faststream_redis_timers", "faststream_redis_timers_sync")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_no_log_or_error_shows_a_name_as_it_stands():
    found = {
        str(path.relative_to(ROOT)): raw
        for path in SOURCES
        if (raw := list(names_shown_raw(ast.parse(path.read_text()))))
    }

    assert len(SOURCES) > 100
    assert found == {}
