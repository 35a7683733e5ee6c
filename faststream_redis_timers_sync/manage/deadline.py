"""Limits on how long one request walks through a topic, whose size is not known before."""

import time

CHANGE_SECONDS = 10.0
"""How long one request changes timers; at least one call's worth. For the rest, the user is asked
again."""

FIND_SECONDS = 20.0
"""How long one request looks for as many as that."""

COUNT_SECONDS = 5.0
"""How long one request counts what would be changed."""

PART_SECONDS = 0.1
"""How long a page of many topics counts timers topic by topic."""

PAGE_SECONDS = 0.15
"""How long one page walks through a topic; the next one continues there."""


class TimeUpError(Exception):
    """There was no time to look at all timers."""


class Deadline:
    """Ends a walk when its time is up; to be passed as `on_examined`.

    Args:
        seconds: How long the walk may take; its first step is always made.
    """

    def __init__(self, seconds: float) -> None:
        """Begin."""
        self._end = time.monotonic() + seconds
        self._has_begun = False

    def __call__(self, _examined: int) -> None:
        """Allow the next step.

        Args:
            _examined: How many timers it looks at.

        Raises:
            TimeUpError: Time is up.
        """
        if self._has_begun:
            self.check()
        self._has_begun = True

    def check(self) -> None:
        """Check that there is time left.

        Raises:
            TimeUpError: Time is up.
        """
        if time.monotonic() >= self._end:
            raise TimeUpError
