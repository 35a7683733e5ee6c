"""The command line: click's commands around what `console` does.

click is imported by `main`, so that where it is missing a sentence says what to install.
"""

import signal
import sys

PROGRAM = "faststream-redis-timers"
"""The name under which it is installed."""


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    try:
        from faststream_redis_timers_sync.cli.group import group  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit(
            f"the command line needs click, which is not installed: pip install '{PROGRAM}[cli]'"
        )
    # A stop in the middle of drawing restores the terminal first, as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    # A shell's background jobs ignore it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    group(prog_name=PROGRAM)


def _interrupt(*_: object) -> None:
    """Interrupt the program; a second signal ends it, where Python would write a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt
