"""This process's monotonic clock."""

import time
from collections.abc import Callable


def monotonic(*, _clock: Callable[[], float] = time.monotonic) -> float:
    """Return the time of this process's monotonic clock, in seconds.

    It is the real one even where a test freezes time: a default argument keeps
    what freezegun replaces in modules. Were it frozen, a lease would seem to end
    when the test moves its clock, and a sleep never.
    """
    return _clock()
