"""Measures how long the machine stalls a process: it can keep no time limit meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STEP = 0.02
"""Seconds between two readings of the clock."""


class Stalls:
    """Measures how late this process goes on after short sleeps.

    Attributes:
        longest: Seconds of the longest delay so far.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._over = threading.Event()

    def watch(self) -> None:
        """Measure until the end."""
        before = time.monotonic()
        while not self._over.wait(STEP):
            now = time.monotonic()
            self.longest = max(self.longest, now - before - STEP)
            before = now

    def end(self) -> None:
        self._over.set()


@contextmanager
def watched() -> Iterator[Stalls]:
    """Measure in a thread until the end of the block."""
    stalls = Stalls()
    thread = threading.Thread(target=stalls.watch, name="stalls")
    thread.start()
    try:
        yield stalls
    finally:
        stalls.end()
        thread.join()
