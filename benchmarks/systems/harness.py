"""What all measured systems share: how worker and producer are driven, and what is recorded.

It runs inside each system's own virtual environment, so it needs the standard
library alone. The benchmark talks to a process in lines of JSON over stdin and
stdout; what libraries print goes to stderr.
"""

import asyncio
import itertools
import json
import os
import resource
import sys
import threading
import time
from array import array
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

BODY_SIZE = 200
"""Bytes of the JSON body of every message."""

BATCH = 5000
"""Messages per call where a system can preload many at once."""

MONTH = 30 * 86_400.0
"""Delay, in seconds, of what is scheduled to see how fast that goes."""


def make_body(due: float, number: int, size: int = BODY_SIZE) -> dict[str, Any]:
    """Make a body.

    Args:
        due: Unix time in seconds at which it is due.
        number: Tells messages apart.
        size: Bytes of its JSON, at least 80.
    """
    body = {"due": due, "number": number, "filler": ""}
    body["filler"] = "x" * (size - len(json.dumps(body, separators=(",", ":"))))
    return body


# --- the worker


class Recorder:
    """Notes when each message reached its handler."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all, and count CPU time from here."""
        # Number, due time and time of each message, one behind the other: a list of tuples
        # would bring the garbage collector to look through all that the worker holds.
        self._seen = array("d")
        self._calls = 0
        self._since = time.time()
        self._cpu_before = self.cpu_seconds()

    def record(self, body: dict[str, Any]) -> None:
        """Note a message: all that a handler does."""
        self._seen.extend((body["number"], body["due"], time.time()))

    def record_batch(self, numbers: Iterable[int], due_times: Iterable[float]) -> None:
        """Note the messages of a batch."""
        self._calls += 1
        noted = zip(numbers, due_times, itertools.repeat(time.time()))
        self._seen.extend(itertools.chain.from_iterable(noted))

    def seen(self) -> list[tuple[int, float, float]]:
        """Give number, due time and time of each message (Unix time in seconds)."""
        numbers, due_times, times = (self._seen[start::3] for start in range(3))
        return list(zip(map(int, numbers), due_times, times, strict=True))

    def cpu_seconds(self) -> float:
        """Give the CPU time of the worker until now."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    def report(self) -> dict[str, Any]:
        """Tell what was noted: times are Unix time or lengths, in seconds."""
        # First, since what follows costs CPU time too.
        cpu = self.cpu_seconds() - self._cpu_before
        seen = self.seen()
        numbers = [number for number, _, _ in seen]
        return {
            "count": len(seen),
            "batches": self._calls,
            "different": len(set(numbers)),
            "numbers": numbers,
            "first": min((at for _, _, at in seen), default=0.0),
            "last": max((at for _, _, at in seen), default=0.0),
            "lateness": [at - due for _, due, at in seen],
            "cpu": cpu,
            "elapsed": time.time() - self._since,
        }

    def count(self) -> dict[str, Any]:
        """Tell how many messages were noted."""
        return {"count": len(self._seen) // 3}


class Pipe:
    """The JSON lines to and from the benchmark."""

    def __init__(self) -> None:
        # Copies: a fork of a pool closes its stdin, and would wait forever for the
        # lock of one that a thread is reading.
        self._in = os.fdopen(os.dup(0))
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def say(self, **answer: Any) -> None:
        """Send a line."""
        self._out.write(json.dumps(answer) + "\n")
        self._out.flush()

    def serve(
        self,
        recorder: Recorder,
        go: Callable[[], float | None],
        stop: Callable[[], None],
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        """Answer commands until told to stop.

        Args:
            recorder: What handlers record into.
            go: Begins to consume; gives the Unix time since which it does, if not the present.
            stop: Ends the worker.
            finish: Consumes no more, and waits for the handlers that run: a report that
                follows is complete.
        """
        self.say(ready=True)
        for line in self._in:
            command = line.strip()
            if command == "go":
                told = time.time()
                self.say(going=go() or told)
            elif command == "reset":
                recorder.reset()
                self.say(reset=True)
            elif command == "count":
                self.say(**recorder.count())
            elif command == "report":
                self.say(**recorder.report())
            elif command == "finish":
                finish()
                self.say(finished=True)
        stop()


def run_async_worker(
    recorder: Recorder,
    consume: Callable[[], Awaitable[None]],
    finish: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run an asyncio worker as the benchmark says.

    Args:
        recorder: What its handlers record into.
        consume: Begins to consume; it may return then, or when it is cancelled.
        finish: Ends it in good order.
    """
    pipe = Pipe()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    consuming: list[asyncio.Task[None]] = []

    def go() -> None:
        async def begin() -> None:
            consuming.append(asyncio.ensure_future(consume()))

        asyncio.run_coroutine_threadsafe(begin(), loop).result()

    def stop() -> None:
        loop.call_soon_threadsafe(loop.stop)

    async def end() -> None:
        nonlocal finish
        if finish is not None:
            last, finish = finish, None
            await asyncio.wait_for(last(), 20)

    def end_now() -> None:
        asyncio.run_coroutine_threadsafe(end(), loop).result()

    threading.Thread(target=pipe.serve, args=(recorder, go, stop, end_now), daemon=True).start()
    loop.run_forever()
    loop.run_until_complete(end())
    os._exit(0)


# --- the producer


@dataclass(frozen=True)
class Sender:
    """How a system schedules.

    Args:
        one: Schedules a body, on a topic, so many seconds ahead.
        many: The same for a list of bodies, in one call, where there is such a thing.
    """

    one: Callable[[dict[str, Any], str, float], Awaitable[Any]]
    many: Callable[[list[dict[str, Any]], str, float], Awaitable[Any]] | None = None


async def preload(sender: Sender, options: dict[str, Any]) -> None:
    """Schedule `count` messages on one topic, all due at the same time."""
    count, topic, delay = options["count"], options["topics"][0], options.get("delay", 0.0)
    due = time.time() + delay
    if sender.many is None:
        for number in range(count):
            await sender.one(make_body(due, number), topic, delay)
        return
    for start in range(0, count, BATCH):
        bodies = [make_body(due, number) for number in range(start, min(start + BATCH, count))]
        await sender.many(bodies, topic, delay)


async def send_paced(sender: Sender, options: dict[str, Any]) -> None:
    """Schedule messages evenly at a rate per second, over all topics."""
    delay, topics = options["delay"], options["topics"]
    for number, moment in paced(options["count"], options["rate"]):
        await asyncio.sleep(max(0.0, moment - time.time()))
        body = make_body(time.time() + delay, number)
        await sender.one(body, topics[number % len(topics)], delay)


async def publish_speed(sender: Sender, options: dict[str, Any]) -> dict[str, Any]:
    """Schedule as fast as it goes, and tell the rate, and seconds of CPU time."""
    count, at_once = options["count"], options["at_once"]
    body = make_body(time.time() + MONTH, 0)
    # So that connections are there, and scripts are known.
    before = 200
    for _ in range(before):
        await sender.one(body, "speed", MONTH)
    started, cpu = time.perf_counter(), time.process_time()
    if options.get("batch") and sender.many is not None:
        for _ in range(count // at_once):
            await sender.many([body] * at_once, "speed", MONTH)
    elif at_once == 1:
        for _ in range(count):
            await sender.one(body, "speed", MONTH)
    else:
        for _ in range(count // at_once):
            await asyncio.gather(*(sender.one(body, "speed", MONTH) for _ in range(at_once)))
    rate = count / (time.perf_counter() - started)
    return {"rate": rate, "cpu": time.process_time() - cpu, "before": before}


_ACTIONS = {"preload": preload, "paced": send_paced, "speed": publish_speed}


def run_system(
    work: Callable[[str, dict[str, Any]], None],
    connect: Callable[[str, dict[str, Any]], AbstractAsyncContextManager[Sender]],
) -> None:
    """Be the worker or the producer that the command line asks for.

    Args:
        work: Runs the worker, given the server's URL and the options.
        connect: Gives a sender, connected, given the same.
    """
    role, url, options = arguments()
    if role == "worker":
        work(url, options)
        return

    async def produce() -> dict[str, Any]:
        async with connect(url, options) as sender:
            return await _ACTIONS[options["action"]](sender, options) or {}

    pipe = Pipe()
    pipe.say(**asyncio.run(produce()))


def paced(count: int, rate: float) -> Any:
    """Give the moments (Unix time) at which to send, evenly at a rate per second."""
    start = time.time()
    for number in range(count):
        yield number, start + number / rate


def arguments() -> tuple[str, str, dict[str, Any]]:
    """Read role, server URL and options from the command line."""
    return sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
