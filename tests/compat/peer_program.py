"""One of two versions that share topics: does what the tests tell it, and says what it saw.

It runs in the environment of its version, so it takes from the library only what both versions
have. It reads a call per line from standard input, as JSON, and writes the result as a line.
"""

import asyncio
import json
import os
import sys
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any

from faststream.exceptions import NackMessage

from faststream_redis_timers import RetryPolicy, TimersBroker
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers_sync import Timer, TimersClient


class HandlerError(Exception):
    """A handler has failed, as it was told to."""


def told(timer: Timer | None) -> dict[str, Any] | None:
    """Make plain data of a timer."""
    if timer is None:
        return None
    return {
        "timer_id": timer.timer_id,
        "due_at": timer.due_at.isoformat(),
        "running": timer.running,
        "body": timer.decode(),
        "content_type": timer.content_type,
        "headers": timer.headers,
        "correlation_id": timer.correlation_id,
    }


def spoken(options: dict[str, Any]) -> dict[str, Any]:
    """Make arguments of the library of what JSON can hold."""
    given = dict(options)
    if "seconds" in given:
        given["activate_in"] = timedelta(seconds=given.pop("seconds"))
    if "at" in given:
        given["activate_at"] = datetime.fromisoformat(given.pop("at"))
    return given


class Peer:
    """The public methods are the calls that tests make."""

    def __init__(self, url: str, names: dict[str, str]) -> None:
        """Connect the client and the broker that schedule."""
        self._url = url
        self._names = names
        self._client = TimersClient(url, **names)
        self._broker = TimersBroker(url, **names)
        self._workers: dict[str, TimersBroker] = {}
        self._seen: dict[str, list[dict[str, Any]]] = {}
        self._gates: dict[str, asyncio.Event] = {}

    async def version(self) -> str:
        """Tell which version of the library this is."""
        return version("faststream-redis-timers")

    async def schedule(self, body: Any, topic: str, **options: Any) -> str:
        """Schedule through the blocking client."""
        return self._client.schedule(body, topic=topic, **spoken(options))

    async def publish(self, body: Any, topic: str, **options: Any) -> str:
        """Schedule through the broker."""
        return await self._broker.publish(body, topic, **spoken(options))

    async def publish_batch(self, *bodies: Any, topic: str, **options: Any) -> list[str]:
        """Schedule many through the broker."""
        return await self._broker.publish_batch(*bodies, topic=topic, **spoken(options))

    async def reschedule(self, topic: str, timer_id: str, **options: Any) -> bool:
        """Move through the blocking client."""
        return self._client.reschedule_timer(topic, timer_id, **spoken(options))

    async def cancel(self, topic: str, timer_id: str) -> bool:
        """Cancel through the broker."""
        return await self._broker.cancel_timer(topic, timer_id)

    async def cancel_timers(self, topic: str, timer_ids: list[str]) -> int:
        """Cancel several through the blocking client."""
        return self._client.cancel_timers(topic, timer_ids)

    async def cancel_all(self, topic: str) -> int:
        """Cancel all timers of a topic through the broker."""
        return await self._broker.cancel_all(topic)

    async def get(self, topic: str, timer_id: str) -> dict[str, Any] | None:
        """Inspect through the blocking client."""
        return told(self._client.get_timer(topic, timer_id))

    async def pending(self, topic: str) -> list[str]:
        """List ids through the broker."""
        return await self._broker.get_pending_timers(topic)

    async def redrive(self, topic: str) -> int:
        """Redrive all dead letters of a dead-letter topic."""
        return self._client.redrive(topic)

    async def start(
        self,
        topic: str,
        *,
        max_attempts: int | None = None,
        delay: float = 0.05,
        batch: bool = False,
        **options: Any,
    ) -> None:
        """Start a worker of a topic; bodies say what its handler does."""
        if max_attempts is not None:
            options["retry_policy"] = RetryPolicy(
                max_attempts=max_attempts, delay=timedelta(seconds=delay), factor=1.0, jitter=0.0
            )
        broker = TimersBroker(self._url, graceful_timeout=2.0, **self._names)
        self._seen.setdefault(topic, [])
        gate = self._gates[topic] = asyncio.Event()

        if batch:

            @broker.subscriber(topic, batch=True, **options)
            async def handle_batch(bodies: list[Any]) -> None:
                self._seen[topic].extend({"body": body} for body in bodies)

        else:

            @broker.subscriber(topic, **options)
            async def handle(body: Any, message: TimerMessage) -> None:
                self._seen[topic].append(
                    {
                        "body": body,
                        "timer_id": message.timer_id,
                        "attempt": message.attempt,
                        "redelivered": message.redelivered,
                        "lateness": message.lateness,
                        "content_type": message.content_type,
                        "correlation_id": message.correlation_id,
                        "headers": dict(message.headers),
                    }
                )
                if body == "wait":
                    await gate.wait()
                if body == "fail":
                    raise HandlerError
                if body == "nack" and message.attempt == 1:
                    raise NackMessage(delay=timedelta(seconds=2))

        await broker.start()
        self._workers[topic] = broker

    async def seen(self, topic: str) -> list[dict[str, Any]]:
        """List what handlers of a topic were called with."""
        return self._seen.get(topic, [])

    async def open(self, topic: str) -> None:
        """Let handlers of a topic end that wait."""
        self._gates[topic].set()

    async def stop(self, topic: str) -> None:
        """Stop the worker of a topic."""
        await self._workers.pop(topic).stop()

    async def every(self, body: Any, topic: str, seconds: float, timer_id: str) -> str:
        """Schedule a recurring timer, which only newer versions can."""
        from faststream_redis_timers import Every  # noqa: PLC0415  an older version has none

        return self._client.schedule(
            body, topic=topic, timer_id=timer_id, repeat=Every(seconds=seconds)
        )

    async def pause(self, topic: str, timer_id: str) -> bool:
        """Pause a recurring timer, which only newer versions can."""
        return self._client.pause_timer(topic, timer_id)


async def answer(peer: Peer, line: str) -> dict[str, Any]:
    """Make one call."""
    name, args, options = json.loads(line)
    try:
        return {"result": await getattr(peer, name)(*args, **options)}
    except Exception as error:  # noqa: BLE001  the test is told
        return {"error": f"{type(error).__name__}: {error}"}


async def main() -> None:
    """Answer calls until standard input ends."""
    # FastStream logs to standard output, which is for replies here.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = Peer(sys.argv[1], json.loads(sys.argv[2]))
    while line := await asyncio.to_thread(sys.stdin.readline):
        replies.write(json.dumps(await answer(peer, line)) + "\n")
        replies.flush()


if __name__ == "__main__":
    asyncio.run(main())
