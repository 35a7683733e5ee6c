"""What all measured systems share: how a worker is driven, and what it records.

It runs inside each system's own virtual environment, so it needs the standard
library alone. The benchmark talks to a process in lines of JSON over stdin and
stdout; what libraries print goes to stderr.
"""

import asyncio
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

BODY_SIZE = 200
"""Bytes of the JSON body of every message."""


def make_body(due: float, number: int) -> dict[str, Any]:
    """Make a body of `BODY_SIZE` bytes.

    Args:
        due: Unix time in seconds at which it is due.
        number: Tells messages apart.
    """
    body = {"due": due, "number": number, "filler": ""}
    body["filler"] = "x" * (BODY_SIZE - len(json.dumps(body, separators=(",", ":"))))
    return body


class Recorder:
    """Notes when each message reached its handler."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all, and count CPU time from here."""
        self._seen: list[tuple[int, float, float]] = []
        self._since = time.time()
        self._cpu_before = _cpu_seconds()

    def record(self, body: dict[str, Any]) -> None:
        """Note a message: all that a handler does."""
        self._seen.append((body["number"], body["due"], time.time()))

    def report(self) -> dict[str, Any]:
        """Tell what was noted: times are Unix time or lengths, in seconds."""
        seen = list(self._seen)
        return {
            "count": len(seen),
            "different": len({number for number, _, _ in seen}),
            "first": min((at for _, _, at in seen), default=0.0),
            "last": max((at for _, _, at in seen), default=0.0),
            "lateness": [at - due for _, due, at in seen],
            "cpu": _cpu_seconds() - self._cpu_before,
            "elapsed": time.time() - self._since,
        }

    def count(self) -> dict[str, Any]:
        """Tell how many messages were noted."""
        return {"count": len(self._seen)}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Pipe:
    """The JSON lines to and from the benchmark."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def say(self, **answer: Any) -> None:
        """Send a line."""
        self._out.write(json.dumps(answer) + "\n")
        self._out.flush()

    def serve(self, recorder: Recorder, go: Callable[[], None], stop: Callable[[], None]) -> None:
        """Answer commands until told to stop."""
        self.say(ready=True)
        for line in sys.stdin:
            command = line.strip()
            if command == "go":
                go()
                self.say(going=True)
            elif command == "reset":
                recorder.reset()
                self.say(reset=True)
            elif command == "count":
                self.say(**recorder.count())
            elif command == "report":
                self.say(**recorder.report())
            elif command == "stop":
                break
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

    threading.Thread(target=pipe.serve, args=(recorder, go, stop), daemon=True).start()
    loop.run_forever()
    if finish is not None:
        loop.run_until_complete(asyncio.wait_for(finish(), 20))
    os._exit(0)


def paced(count: int, rate: float) -> Any:
    """Give the moments (Unix time) at which to send, evenly at a rate per second."""
    start = time.time()
    for number in range(count):
        yield number, start + number / rate


def arguments() -> tuple[str, str, dict[str, Any]]:
    """Read role, server URL and options from the command line."""
    return sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
