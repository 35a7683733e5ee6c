"""Worker processes of worker_app.py, for tests that kill or terminate them."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

from waiting import wait_until

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
START = 30.0
"""Seconds that a process may take to come up on a busy machine."""


class Workers:
    """Starts applications of worker_app.py, and reads what they note."""

    def __init__(self, bench, notes, folder):
        self.bench = bench
        self.notes = notes
        self.folder = folder
        self.redis = bench.redis
        self._stack = ExitStack()
        self._logs = {}

    def start(self, count=1, *, workers=1, **settings):
        """Start processes, each with as many workers, and wait until all deliver."""
        before = self.redis.llen(f"{self.notes}:started")
        processes = self.launch(count, workers=workers, **settings)

        def have_started():
            for process in processes:
                assert process.poll() is None, self.output_of(process)
            return self.redis.llen(f"{self.notes}:started") == before + count * workers

        wait_until(have_started, START)
        return processes

    def launch(
        self, count=1, *, workers=1, url=None, graceful_timeout=20.0, series=None, **options
    ):
        """Start processes that declare series: id -> (period in seconds, body)."""
        settings = {
            "url": url or self.bench.home.server_url,
            "key_names": self.bench.home.key_names,
            "notes": self.notes,
            "graceful_timeout": graceful_timeout,
            "options": options,
            "series": series,
        }
        env = {
            **os.environ,
            "WORKER_SETTINGS": json.dumps(settings),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{FOLDER}",
        }
        processes = []
        for _ in range(count):
            # A file, since nobody reads a pipe meanwhile.
            log = self._stack.enter_context((self.folder / uuid4().hex).open("w+"))
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "faststream", "run", "worker_app:app"),
                    *("--workers", f"{workers}"),
                ],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._stack.enter_context(process)
            self._stack.callback(kill_group, process.pid)
            self._logs[process] = log
            processes.append(process)
        return processes

    def output_of(self, process):
        log = self._logs[process]
        log.seek(0)
        return log.read()

    def until_said(self, process, text):
        wait_until(lambda: text in self.output_of(process), START)

    def lines_about(self, processes, text):
        """Give the lines with a text that processes have written."""
        outputs = "".join(map(self.output_of, processes))
        return [line for line in outputs.splitlines() if text in line]

    def noted(self, what):
        return [json.loads(note) for note in self.redis.lrange(f"{self.notes}:{what}", 0, -1)]

    def open_gate(self):
        self.redis.set(f"{self.notes}:gate", 1)

    def close(self):
        self._stack.close()
        keys = [f"{self.notes}:{what}" for what in ("started", "begun", "ended", "gate")]
        self.redis.delete(*keys)


def kill_group(group):
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
