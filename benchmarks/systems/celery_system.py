"""Celery: its worker holds what has a `countdown` in memory until it is due.

The default pool forks, so what is recorded goes to a file that all processes append to.
"""

import os
import struct
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_ready
from harness import Pipe, Recorder, Sender, arguments, run_system

_, SERVER, _ = arguments()
ENTRY = struct.Struct("qdd")


class FileRecorder(Recorder):
    """A recorder that the processes of a pool share."""

    def __init__(self) -> None:
        file, name = tempfile.mkstemp()
        os.close(file)
        self._file = os.open(name, os.O_RDWR | os.O_APPEND)
        Path(name).unlink()
        super().__init__()

    def reset(self) -> None:
        """Forget all."""
        super().reset()
        os.ftruncate(self._file, 0)

    def record(self, body: dict[str, Any]) -> None:
        """Note a message."""
        os.write(self._file, ENTRY.pack(body["number"], body["due"], time.time()))

    def seen(self) -> list[tuple[int, float, float]]:
        """Give what all processes noted."""
        return list(ENTRY.iter_unpack(os.pread(self._file, os.fstat(self._file).st_size, 0)))

    def count(self) -> dict[str, Any]:
        """Tell how many messages all processes noted."""
        return {"count": os.fstat(self._file).st_size // ENTRY.size}

    def cpu_seconds(self) -> float:
        """Give the CPU time of the worker and its pool."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            if int(fields[1]) == os.getpid():
                ticks += int(fields[11]) + int(fields[12])
        return super().cpu_seconds() + ticks / os.sysconf("SC_CLK_TCK")


recorder = FileRecorder()
app = Celery("bench", broker=SERVER)
app.conf.update(
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="handle")
def handle(body: dict[str, Any]) -> None:
    recorder.record(body)


TUNED = [
    "--prefetch-multiplier=0",  # no limit
    "--without-gossip",
    "--without-mingle",
    "--without-heartbeat",
]
# A thread is not handed its messages by another process, so they are less late; forks
# have two cores for many of them.
ON_TIME = ["--pool=threads", "--concurrency=1"]


def work(_: str, options: dict[str, Any]) -> None:
    pipe = Pipe()
    begin, ready = threading.Event(), threading.Event()
    # It is no matter here that it takes a second or two to start.
    worker_ready.connect(lambda **_: ready.set(), weak=False)

    def go() -> float:
        begin.set()
        ready.wait()
        return time.time()

    def stop() -> None:
        os._exit(0)

    threading.Thread(target=pipe.serve, args=(recorder, go, stop), daemon=True).start()
    begin.wait()
    flags = TUNED if options["tuned"] else []
    if options["tuned"] and not options.get("concurrency"):
        flags = [*flags, *ON_TIME]
    app.worker_main(["worker", "--loglevel=ERROR", *flags])


@asynccontextmanager
async def connect(_: str, __: dict[str, Any]) -> AsyncIterator[Sender]:
    async def one(body: dict[str, Any], _: str, delay: float) -> None:
        handle.apply_async((body,), countdown=delay or None)

    yield Sender(one)


if __name__ == "__main__":
    run_system(work, connect)
