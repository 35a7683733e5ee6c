"""This process's monotonic clock."""

import time
from collections.abc import Callable


def monotonic(*, _clock: Callable[[], float] = time.monotonic) -> float:
    """Return the time of this process's monotonic clock, in seconds.

    It is the real clock even if a test freezes time: the default argument keeps the function
    that freezegun replaces in modules. With a frozen clock, leases would end when the test
    moves its clock, and sleeps never.
    """
    return _clock()
