"""A server that tells what it was asked to do and what that cost, and is filled with timers."""

import math
import time
from datetime import timedelta

import redis

from benchmarks.systems.measures import MIB, make_body, peak_memory
from faststream_redis_timers_sync import TimersClient

_FILL_BATCH = 500


class Server:
    """A server that is measured.

    Args:
        url: Where it is.
    """

    def __init__(self, url: str) -> None:
        """Connect."""
        self.url = url
        self.client = redis.Redis.from_url(url)
        self._process = self.client.info("server")["process_id"]

    def empty(self) -> None:
        """Remove all keys, and wait until their memory is free."""
        self.client.flushall()
        before, now = math.inf, self._allocated()
        while now < before:
            time.sleep(0.1)
            before, now = now, self._allocated()

    def fill(self, topic: str, count: int, *, size: int = 200, delay: float = 0.0) -> None:
        """Schedule timers, in batches of a mebibyte at most.

        Args:
            topic: Their topic.
            count: How many.
            size: Bytes of each JSON body.
            delay: Seconds until they are due.
        """
        due = time.time() + delay
        length = max(1, min(_FILL_BATCH, MIB // size))
        with TimersClient(self.url) as client:
            for start in range(0, count, length):
                numbers = range(start, min(start + length, count))
                bodies = [make_body(size, number, due) for number in numbers]
                client.schedule_batch(bodies, topic, activate_in=timedelta(seconds=delay))

    def cpu(self) -> float:
        """Give the seconds of CPU time that it has used."""
        info = self.client.info("cpu")
        return float(info["used_cpu_sys"] + info["used_cpu_user"])

    def weigh(self) -> int:
        """Give the bytes that its keys take, all elements counted."""
        return sum(self.client.memory_usage(key, samples=0) or 0 for key in self.client.scan_iter())

    def peak_memory(self, *, anew: bool = False) -> int:
        """Give the most bytes of memory that its process held.

        Args:
            anew: Count from here.
        """
        return peak_memory(self._process, anew=anew)

    def _allocated(self) -> int:
        return int(self.client.info("memory")["used_memory"])

    def script_calls(self) -> int:
        """Give how many scripts it was asked to run."""
        stats = self.client.info("commandstats")
        return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in _SCRIPTS)

    def reads(self) -> int:
        """Give how often it has read from a connection: about the round trips."""
        return int(self.client.info("stats")["total_reads_processed"])


_SCRIPTS = ("evalsha", "eval")
