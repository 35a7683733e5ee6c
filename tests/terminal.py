"""A process on a terminal of its own, and what it shows there."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from contextlib import suppress

from rich.cells import cell_len
from waiting import wait_until

_ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\].*?(\x07|\x1b\\)|[=>()].?)")


class Terminal:
    """A process whose standard streams are a terminal.

    Args:
        command: The process.
        columns: How wide the terminal is.
        lines: How high it is.
        output: What standard output is in place of the terminal.
        options: Further options of `subprocess.Popen`.

    Attributes:
        raw: All that was written to the terminal, escape sequences included.
    """

    def __init__(self, command, *, columns=80, lines=24, output=None, **options):
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.raw = ""
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs if output is None else output,
            stderr=theirs,
            start_new_session=True,
            # The terminal controls the process, so that Ctrl-C reaches it.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
            **options,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self):
        """What was written, without escape sequences; what was drawn over is still there."""
        return _ESCAPE.sub("", self.raw).replace("\r\n", "\n")

    @property
    def width(self):
        """How many columns the widest line has."""
        return max(cell_len(part) for line in self.text.split("\n") for part in line.split("\r"))

    def wait_for(self, text):
        """Wait until this text was written."""
        wait_until(lambda: text in self.text, timeout=30)

    def type(self, keys):
        """Press keys; ``\\x03`` is Ctrl-C."""
        os.write(self._ours, keys.encode())

    def end(self):
        """Wait until the process has ended by itself, and give its exit code."""
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        return code

    def close(self):
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._reader.join(timeout=10)
        with suppress(OSError):
            os.close(self._ours)

    def _read(self):
        pending = b""
        # Linux says EIO when the last process has closed the other end.
        with suppress(OSError):
            while data := os.read(self._ours, 65_536):
                pending += data
                with suppress(UnicodeDecodeError):
                    self.raw += pending.decode()
                    pending = b""
