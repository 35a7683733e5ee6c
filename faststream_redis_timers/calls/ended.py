"""Tells a connection that the server has closed before anything is sent on it.

Pools of redis-py hand out idle connections whose end they have not noticed: what is sent there is
lost, and whether it was carried out can't be told.
"""

import asyncio
import select
import threading
import time
from collections.abc import Callable
from typing import Any

LONGEST_UNSEEN = 0.001
"""Seconds after a reply during which the event loop's view of a connection counts. An older view is
checked, which takes 2 microseconds. A caller that sends its next call at once is spared the check;
one that first blocks the event loop, by a call of a blocking client say, takes longer, and is not.
"""

# Where a system can't tell an end alone, whatever may be read on an idle connection counts.
_ENDED = getattr(select, "POLLRDHUP", getattr(select, "POLLIN", 0))


class _Heard(threading.local):
    at = 0.0


_heard = _Heard()
# When this thread's event loop passed on a reply: until then it has seen what had ended.


def note_heard(*, _clock: Callable[[], float] = time.monotonic) -> None:
    """Note that the event loop of this thread has just passed on a reply."""
    # The clock is an argument for the reason that `clock.monotonic` gives, without its call.
    _heard.at = _clock()


def has_ended(
    connection: Any,
    writer: asyncio.StreamWriter,
    *,
    _clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Return whether the server has closed a connection.

    Args:
        connection: A connection of redis-py's, which nobody uses.
        writer: What it writes to.
    """
    if writer.transport.is_closing() or connection._reader.at_eof():  # noqa: SLF001  there is no other way to see it
        return True
    # An event loop that was kept busy, by this very caller maybe, has not looked since.
    return _clock() - _heard.at > LONGEST_UNSEEN and _is_hung_up(writer)


def _is_hung_up(writer: asyncio.StreamWriter) -> bool:
    socket = writer.get_extra_info("socket")
    if socket is None or not hasattr(select, "poll"):
        return False
    poller = select.poll()
    poller.register(socket, _ENDED)
    return bool(poller.poll(0))
