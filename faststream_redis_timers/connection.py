"""A broker's client, and what all of its subscribers share beside it.

Whatever imports redis-py is imported from here, and this when a broker is made:
redis-py takes as long to import as all the rest of this package.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis
import redis.asyncio
from faststream.exceptions import IncorrectState
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from faststream_redis_timers._run import Runner
from faststream_redis_timers.subscriber.schedule import AlarmClock, SpinBudget
from faststream_redis_timers.subscriber.wakeups import WakeUps
from faststream_redis_timers_sync.protocol.clients import NO_CLUSTER, URL_OPTIONS, is_cluster


class TimersConnection:
    """The broker's client, and what its subscribers share beside it.

    Args:
        client: A client, which stays the caller's; a URL, of which one is made
            and closed here; or None.
        log: Writes a line of a `logging` level to the broker's log.

    Raises:
        TypeError: `client` is a blocking or cluster client, or no client at all.
        ValueError: redis-py does not understand the URL.
    """

    def __init__(
        self, client: "redis.asyncio.Redis | str | None", log: Callable[[int, str], None]
    ) -> None:
        """Check the client; nothing is sent yet."""
        if isinstance(client, str):
            parse_url(client)
        elif client is not None:
            _check_client(client)
        self._given = client
        self._log = log
        self._runner: Runner | None = None
        self._wake_ups: WakeUps | None = None
        self.spin_budget = SpinBudget()
        self.alarm_clock = AlarmClock()

    @property
    def runner(self) -> Runner:
        """Runs operations on the client.

        Raises:
            IncorrectState: There is no client, or `open` was not called.
        """
        if self._runner is not None:
            return self._runner
        if self._given is None:
            msg = (
                "the TimersBroker has no client: give it a redis.asyncio.Redis or a URL, "
                'as in TimersBroker("redis://localhost:6379")'
            )
            raise IncorrectState(msg)
        msg = "the TimersBroker is not connected: call `await broker.connect()` first"
        raise IncorrectState(msg)

    @property
    def address(self) -> str:
        """The server's URL for documents, without user and password."""
        if isinstance(self._given, str):
            url = urlsplit(self._given)
            return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))
        options: dict[str, Any] = {}
        if self._given is not None:
            options = self._given.connection_pool.connection_kwargs
        if path := options.get("path"):
            return f"unix://{path}"
        return f"redis://{options.get('host', 'localhost')}:{options.get('port', 6379)}"

    @property
    def wake_ups(self) -> WakeUps:
        """The listener that all subscribers share."""
        if self._wake_ups is None:
            self._wake_ups = WakeUps(self.runner.client, self._log)
        return self._wake_ups

    def open(self) -> "redis.asyncio.Redis":
        """Have a client; it connects when it is first used.

        Raises:
            IncorrectState: Neither client nor URL was given.
        """
        if self._runner is None and self._given is not None:
            self._runner = Runner(
                redis.asyncio.Redis.from_url(
                    self._given, retry=Retry(NoBackoff(), 0), **URL_OPTIONS
                )
                if isinstance(self._given, str)
                else self._given
            )
        return self.runner.client

    async def wait_for_server(self, timeout: float) -> None:
        """Ask the server for a sign of life until it gives one.

        Args:
            timeout: Seconds.

        Raises:
            TimeoutError: It did not.
        """
        problem: Exception | None = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        return await self.runner.ping()
                    except (RedisError, OSError) as error:
                        problem = error
                    await asyncio.sleep(0.05)
        except TimeoutError:
            msg = f"the server did not answer within start_timeout={timeout:g} s"
            raise TimeoutError(f"{msg}: {problem}" if problem else msg) from problem

    async def is_answered(self, timeout: float) -> bool:
        """Tell whether the server answers.

        Args:
            timeout: Seconds to wait for the answer.
        """
        with suppress(RedisError, OSError):
            async with asyncio.timeout(timeout):
                await self.runner.ping()
                return True
        return False

    async def close(self) -> None:
        """Let go of the client, and close it if it was made here."""
        runner, self._runner = self._runner, None
        self._wake_ups = None
        if runner is not None:
            await self._close_if_ours(runner)

    async def close_again(self, runner: Runner) -> None:
        """Close what a delivery loop used after `close`: a handler had stopped the broker.

        Args:
            runner: What the loop used.
        """
        if runner is not self._runner:
            await self._close_if_ours(runner)

    async def _close_if_ours(self, runner: Runner) -> None:
        if runner.client is not self._given:
            await runner.client.aclose()


def _check_client(client: object) -> None:
    if is_cluster(client):
        raise TypeError(NO_CLUSTER)
    if isinstance(client, redis.Redis):
        msg = (
            "client is a blocking redis.Redis, the broker is asynchronous: give it a "
            "redis.asyncio.Redis, or use faststream_redis_timers_sync.TimersClient"
        )
        raise TypeError(msg)
    if not isinstance(client, redis.asyncio.Redis):
        msg = f"client must be a redis.asyncio.Redis or a URL, got {type(client).__name__}"
        raise TypeError(msg)
