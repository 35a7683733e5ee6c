"""A meter at the server: what was asked, in how many round trips, over how many connections."""

from collections.abc import Sequence
from dataclasses import dataclass

import redis
from inside import is_listening, loop_of, loops_of, sleeps_for
from waiting import wait_until_async

from faststream_redis_timers import TimersBroker


@dataclass(frozen=True)
class Traffic:
    """What the server has seen, the meter's own looks left out.

    Args:
        reads: How often it has read from a connection. A command that a client sends on
            its own and that is no larger than 16 KiB is one read, and so is a disconnect.
        connections: How many connections it has accepted.
        calls: How often it has executed each command. What scripts call counts too.
    """

    reads: int
    connections: int
    calls: dict[str, int]

    def sent(self, *names: str) -> int:
        """Count commands of these names; those of `SENT` are sent by clients alone."""
        return sum(self.calls.get(name, 0) for name in names or SENT)

    @property
    def scripts(self) -> int:
        """Count script calls; one that the server does not know yet counts twice."""
        return self.sent("evalsha", "eval")


SENT = ("evalsha", "eval", "ping")
"""What workers and publishers send once they are connected. No script calls these, so the
server's statistics count nothing else."""


class Meter:
    """Reads the server's statistics; the server must be the test's alone.

    Args:
        client: A client that does nothing else meanwhile.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._looks = 0

    def reset(self) -> None:
        """Begin to count."""
        # It counts as read before it is executed, and is not executed before it resets.
        self._client.config_resetstat()
        self._looks = 0

    def read(self) -> Traffic:
        """Tell what came since `reset`."""
        self._looks += 1
        found = self._client.info("stats", "commandstats")
        return Traffic(
            reads=found["total_reads_processed"] - self._looks,
            connections=found["total_connections_received"],
            calls={
                name.removeprefix("cmdstat_"): stats["calls"]
                for name, stats in found.items()
                if name.startswith("cmdstat_")
            },
        )


async def until_asleep(brokers: Sequence[TimersBroker], at_least: float = 1.0) -> None:
    """Wait until all subscribers listen for wake-ups and sleep for some time yet.

    Args:
        brokers: The brokers.
        at_least: Seconds for which all of them will sleep if nothing wakes them.
    """

    def are_asleep() -> bool:
        return all(is_asleep(broker, at_least) for broker in brokers)

    await wait_until_async(are_asleep)


async def look_once_more(brokers: Sequence[TimersBroker]) -> None:
    """Wait until they sleep and know the server's time well, as workers do after some polls.

    Args:
        brokers: The brokers; they have no reason to poll soon.
    """
    await until_asleep(brokers)
    # What they have learnt of it in the rush of the start may be off by some milliseconds.
    for broker in brokers:
        for subscriber in broker.subscribers:
            loop_of(subscriber).poll_now()
            await until_asleep(brokers)


def is_asleep(broker: TimersBroker, at_least: float) -> bool:
    """Return whether a broker listens, has looked since it does, and sleeps."""
    # From outside it can't be told: a worker looks once more when it has begun to listen.
    return is_listening(broker) and all(sleeps_for(loop, at_least) for loop in loops_of(broker))
