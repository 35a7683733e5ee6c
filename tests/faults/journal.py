"""What happened in a run with faults, written by all of its processes into one file."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


class Journal:
    """A file of facts, one a line, in the order in which they happened.

    The moment of each fact is on the monotonic clock, which all processes of a machine
    share, and which libfaketime leaves alone.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._read_to = 0
        self._facts: list[dict[str, Any]] = []

    def note(self, what: str, **facts: Any) -> None:
        """Append a fact.

        Args:
            what: Its kind.
            facts: What is to be known of it.
        """
        fact = {"what": what, "at": time.monotonic(), "pid": os.getpid(), **facts}
        # One system call, so that lines do not mix. A process that is killed in it may leave
        # half a line: the next one begins a line of its own.
        os.write(self._file, b"\n" + json.dumps(fact).encode() + b"\n")

    def read(self, *kinds: str) -> list[dict[str, Any]]:
        """Give the facts so far; with names, those of these kinds."""
        size = os.fstat(self._file).st_size
        lines, end, _ = os.pread(self._file, size - self._read_to, self._read_to).rpartition(b"\n")
        self._read_to += len(lines) + len(end)
        for line in lines.splitlines():
            with suppress(ValueError):
                self._facts.append(json.loads(line))
        return [fact for fact in self._facts if not kinds or fact["what"] in kinds]

    def close(self) -> None:
        """Close the file; it stays."""
        os.close(self._file)
