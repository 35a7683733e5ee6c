"""A worker and a blocking program under fault, as processes: nothing they print has a secret."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest
from bench import INTERRUPTED, RESUMED
from command_line import ROOT, environment
from planted import HOSTILE, SECRETS, assert_no_secret, assert_tame
from pydantic import BaseModel, ValidationError
from relay import Relay
from waiting import wait_until

from faststream_redis_timers import TestTimersBroker as OneTimersBroker, TimersBroker
from faststream_redis_timers_sync.protocol.envelope import MAGIC

BODY, HEADER, PASSWORD = SECRETS
FOLDER = Path(__file__).parent
HANDLED = (
    *("ok", "fails", "answer", "parser", "decoder", "bad-answer", "nacks", "rejects", "publishes"),
    *("long", "hangs", "by-hand", "by-hand-failing", "dead", "policy"),
)
TOPICS = (*HANDLED, f"fails{HOSTILE}", "typed", "filtered", "slow")


class Program:
    """A Python program whose output goes into a file."""

    def __init__(self, words, output, settings):
        self._output = output
        env = environment(LEAKY_SETTINGS=json.dumps(settings), PYTHONASYNCIODEBUG="1")
        env["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(FOLDER)))
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *words],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self):
        return self._output.read_text(errors="backslashreplace")

    def until_said(self, text, times=1):
        def is_said():
            assert self.process.poll() is None, self.said[-5000:]
            return self.said.count(text) >= times

        wait_until(is_said, timeout=30)

    def end(self, expected=0):
        assert self.process.wait(60) == expected, self.said[-5000:]
        return self.said

    def kill(self):
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture
def programs(tmp_path):
    """Start programs; what still runs at the end is killed."""
    running = []

    def start(name, words, settings):
        running.append(Program(words, tmp_path / name, settings))
        return running[-1]

    yield start
    for program in running:
        program.kill()


def with_user(url, user="leaky", password=PASSWORD):
    return url.replace("://", f"://{user}:{password}@")


def test_nothing_that_a_worker_or_a_client_prints_under_fault_has_a_secret(
    own_url, own_server, programs, tmp_path
):
    rules = ("~*", "&*", "+@all")
    own_server.execute_command("ACL", "SETUSER", "leaky", "on", f">{PASSWORD}", *rules)
    own_server.execute_command("ACL", "SETUSER", "nobody", "on", f">{PASSWORD}", "~x")
    wrong = f"{PASSWORD}-wrong"
    with Relay(own_url) as relay:
        settings = {
            "url": with_user(relay.url),
            "wrong_url": with_user(relay.url, password=wrong),
            "notes_url": own_url,
            "documents": str(tmp_path / "documents"),
        }
        words = ("-m", "faststream", "run", "leaky_worker:app", "--log-level", "debug")
        worker = programs("worker", words, settings)
        worker.until_said("has started")
        client = programs("client", (str(FOLDER / "leaky_client.py"),), {
            "url": with_user(own_url),
            "topics": TOPICS,
            "body": BODY,
            "header": HEADER,
            "bad_urls": [
                with_user(relay.url, password=wrong),
                with_user("redis://127.0.0.1:1"),
                with_user(own_url, user="nobody"),
                f"redis://leaky:{PASSWORD}/x@localhost:6379",
                f"redis://leaky:{PASSWORD}@localhost:bad",
                f"redis://leaky:{PASSWORD}@localhost?unknown={PASSWORD}",
                f"rediss://leaky:{PASSWORD}@127.0.0.1:{relay.port}",
                f"http://leaky:{PASSWORD}@localhost",
            ],
        })  # fmt: skip
        for timer_id, payload in {
            "cut": MAGIC + b"\0\1" + BODY.encode(),
            "lies": MAGIC + b"\0\1\0\0\0\x12\0\0\0\x20\xff\xff" + BODY.encode() * 3,
            "\x1b[31m\n2026 ERROR forged": MAGIC + b"\0\2" + BODY.encode() * 3,
        }.items():
            for topic in ("unreadable", "unreadable-dead"):
                own_server.hset(f"timers_payloads:{topic}", timer_id, payload)
                own_server.zadd(f"timers_timeline:{topic}", {timer_id: 1})
        own_server.zadd("timers_timeline:unreadable", {"evicted": 1, b"\xff\x1b[31m": 1})

        wait_until(lambda: {t.decode() for t in own_server.lrange("handled", 0, -1)} >= {*HANDLED})
        for text in (
            "There is no suitable handler",
            "JSONDecodeError",
            "UnicodeDecodeError",
            "validation error",
            "had no payload",
            "was removed with its",
            "invalid NackMessage",
            "was dead-lettered to topic",
            "retry_policy failed",
            "handler_timeout",
            "RuntimeError: no secret of mine",
        ):
            worker.until_said(text)
        said_by_client = client.end()

        # Refused, away, silent, cut, empty of scripts, and without the right to listen.
        own_server.execute_command("ACL", "SETUSER", "leaky", "-evalsha", "-eval")
        worker.until_said(INTERRUPTED)
        own_server.execute_command("ACL", "SETUSER", "leaky", "+@all")
        worker.until_said(RESUMED)
        before = worker.said.count(RESUMED)
        relay.refuse()
        worker.until_said("Error 111 connecting")
        relay.accept()
        worker.until_said(RESUMED, before + 1)
        own_server.script_flush()
        relay.lose_reply()
        own_server.execute_command("ACL", "SETUSER", "leaky", "resetchannels")
        relay.cut()
        worker.until_said("wake-ups are refused")
        worker.process.send_signal(signal.SIGTERM)
        said_by_worker = worker.end()

    own_server.delete("handled")
    documents = (tmp_path / "documents").read_text()
    assert_no_secret(said_by_worker, said_by_client, documents)
    assert_tame(said_by_worker)
    assert_tame(said_by_client)
    # The test bites: all that is to be seen was said.
    for text in ("invalid username-password", '"trace_id"', "2026-01-01 ERROR forged"):
        assert text in said_by_worker
    for text in ("asyncapi", 'status="acked"'):
        assert text in documents
    texts = ("DONE", "username-password", "Connection refused", "permission", "can't be read")
    for text in texts:
        assert text in said_by_client
    assert said_by_client.count("ERROR:") > 20


# --- what a handler's own error tells


class Address(BaseModel):
    """Part of a body."""

    zip_code: int


class Customer(BaseModel):
    """A body."""

    address: Address


def documented_options():
    """The options of the broker in docs/security.md."""
    page = (ROOT / "docs" / "security.md").read_text()
    (block,) = (b for b in BLOCK.findall(page) if "hide_input_in_errors" in b)
    made = []
    # The page says only what is new.
    names = {"TimersBroker": lambda _, **options: made.append(options), "url": None}
    exec(textwrap.dedent(block), names)  # noqa: S102  it is our page
    return made[0]


BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
HIDING = {"by default": ({}, True), "as documented": (documented_options(), False)}


@pytest.mark.parametrize(("options", "is_shown"), HIDING.values(), ids=HIDING)
@pytest.mark.parametrize("message", [BODY, {"address": {"zip_code": BODY}}], ids=["str", "model"])
def test_pydantic_shows_a_body_unless_it_is_told_to_hide_it(options, is_shown, message):
    async def run():
        broker = TimersBroker(**options)

        @broker.subscriber("invoices")
        async def handle(body: int if message is BODY else Customer) -> None:
            """Never called."""

        async with OneTimersBroker(broker):
            with pytest.raises(ValidationError) as caught:
                await broker.publish(message, "invoices")
        return str(caught.value)

    told = asyncio.run(run())

    assert "valid integer" in told
    assert ("input_value" in told) is is_shown
    assert (BODY in told) is is_shown
