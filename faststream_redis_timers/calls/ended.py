"""Detects connections that the server has closed, before anything is sent on them.

Pools of redis-py return idle connections whose end they have not noticed: a command sent there is
lost, and it is unknown whether it was carried out.
"""

import asyncio
import select
import threading
import time
from collections.abc import Callable
from typing import Any

LONGEST_UNSEEN = 0.001
"""Seconds after a reply during which the event loop's view of a connection counts. An older view is
checked, which takes 2 microseconds. A caller that sends its next call immediately skips the check;
one that first blocks the event loop, for example with a blocking client, does not.
"""

# If a system can't detect only the end, any readable data on an idle connection counts.
_ENDED = getattr(select, "POLLRDHUP", getattr(select, "POLLIN", 0))


class _Heard(threading.local):
    at = 0.0


_heard = _Heard()
# When this thread's event loop last passed on a reply: it has seen all ends until then.


def note_heard(*, _clock: Callable[[], float] = time.monotonic) -> None:
    """Note that the event loop of this thread has just passed on a reply."""
    # The clock is an argument as in `clock.monotonic`, but without an extra call.
    _heard.at = _clock()


def has_ended(
    connection: Any,
    writer: asyncio.StreamWriter,
    *,
    _clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Return whether the server has closed a connection.

    Args:
        connection: An idle connection of redis-py.
        writer: Its writer.
    """
    if writer.transport.is_closing() or connection._reader.at_eof():  # noqa: SLF001  there is no other way
        return True
    # An event loop that was blocked, perhaps by this caller, has not checked since.
    return _clock() - _heard.at > LONGEST_UNSEEN and _is_hung_up(writer)


def _is_hung_up(writer: asyncio.StreamWriter) -> bool:
    socket = writer.get_extra_info("socket")
    if socket is None or not hasattr(select, "poll"):
        return False
    poller = select.poll()
    poller.register(socket, _ENDED)
    return bool(poller.poll(0))
