"""Clocks that are wrong: libfaketime's, preloaded into single processes."""

import os
from pathlib import Path

import pytest

_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib")


def _library() -> Path | None:
    # The one for programs with threads, where Debian and others put it.
    for folder in _FOLDERS:
        for pattern in ("*/faketime/libfaketimeMT.so.1", "faketime/libfaketimeMT.so.1"):
            if found := next(iter(sorted(Path(folder).glob(pattern))), None):
                return found
    return None


def preloaded() -> dict[str, str]:
    """Give the environment that loads libfaketime, or skip the test where there is none."""
    library = _library()
    if library is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no libfaketime here: apt-get install libfaketime")
        pytest.skip("there is no libfaketime here: apt-get install libfaketime")
    return {
        "LD_PRELOAD": str(library),
        # The clock that counts seconds is right on a machine whose date is wrong.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Those that are killed would leave memory behind.
        "FAKETIME_DISABLE_SHM": "1",
    }


def clock_off_by(seconds: int) -> dict[str, str]:
    """Give the environment of a process whose date is off by so many seconds."""
    return {**preloaded(), "FAKETIME": f"{seconds:+d}"}


class Dial:
    """Sets the date of a running process.

    Args:
        path: A file that the process reads whenever it asks for the time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0)
        self.env = {
            **preloaded(),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
        }

    def set(self, seconds: int) -> None:
        """Set it off by so many seconds."""
        new = self._path.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        # At once: half a file would be some other time.
        new.replace(self._path)
