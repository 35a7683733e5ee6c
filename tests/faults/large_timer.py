"""One end of a large timer, as a process: it schedules or delivers it, and tells its memory.

Called with `schedule`, `publish` or `deliver`, the server's URL and the size in bytes. The
last line that it writes is the memory that it has held at most beyond what it held before.
"""

import asyncio
import re
import resource
import sys
from pathlib import Path

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.subscriber import loop
from faststream_redis_timers_sync import TimersClient

TOPIC = "large"
TIMEOUT = 60.0


def peak() -> int:
    """Give the most memory that this process has held, in bytes."""
    # What getrusage tells is at least what the process that started this one has held.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024


def held() -> int:
    """Give the memory that this process holds, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# It is about memory: on a busy machine the server may take its time for so much.
loop.CALL_TIMEOUT = TIMEOUT


async def publish(url: str, size: int) -> None:
    """Schedule it with a broker."""
    broker = TimersBroker(url)
    await broker.connect()
    await broker.publish(bytes(size), TOPIC, timer_id="published")
    await broker.stop()


def schedule(url: str, size: int) -> None:
    """Schedule it with a client."""
    with TimersClient(url) as client:
        client.schedule(bytes(size), TOPIC, timer_id="scheduled")


async def deliver(url: str, size: int) -> None:
    """Deliver one such timer."""
    broker = TimersBroker(url)
    delivered = asyncio.Event()

    @broker.subscriber(TOPIC)
    async def handle(body: bytes) -> None:
        assert len(body) == size
        delivered.set()

    async with broker:
        await asyncio.wait_for(delivered.wait(), TIMEOUT)


def main() -> None:
    """Do what the arguments say."""
    what, url, size = sys.argv[1], f"{sys.argv[2]}?socket_timeout={TIMEOUT}", int(sys.argv[3])
    before = held()
    if what == "schedule":
        schedule(url, size)
    else:
        asyncio.run({"publish": publish, "deliver": deliver}[what](url, size))
    sys.stdout.write(f"{peak() - before}\n")


if __name__ == "__main__":
    main()
