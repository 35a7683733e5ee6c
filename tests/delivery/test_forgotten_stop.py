"""A program that does not stop its broker, because it fails before, ends all the same."""

import subprocess
import sys

from command_line import LONGEST, environment

PROGRAM = """
import asyncio, sys
from faststream_redis_timers import TimersBroker

async def main(pause):
    broker = TimersBroker(sys.argv[1], timeline_key=sys.argv[2], logger=None)
    @broker.subscriber("topic")
    async def handle(body): ...
    await broker.start()
    await asyncio.sleep(pause)
    # Here asyncio.run cancels each task, once, and waits for all of them.

for turn in range(30):
    asyncio.run(main(turn % 10 / 1000))
print("ended")
"""


def test_a_program_that_does_not_stop_its_broker_ends(server_url, key_names):
    # Up to Python 3.11 the cancellation of a task that sends may be swallowed.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, server_url, key_names["timeline_key"]],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=True,
    )

    assert done.stdout == "ended\n"
