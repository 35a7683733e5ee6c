"""How tests start the command line as a process."""

import os
import sys
from pathlib import Path

from click.testing import CliRunner

ROOT = Path(__file__).parents[1]
MODULE = [sys.executable, "-m", "faststream_redis_timers_sync"]
LONGEST = 60.0
"""Seconds until a process that hangs fails its test; nothing takes that long."""


def environment(**more):
    """Give an environment that holds nothing the programs look at, but what is named."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TIMERS_", "PYTHON", "DJANGO_", "FLASK_", "CELERY_"))
        and name not in {"NO_COLOR", "COLUMNS", "LINES"}
    }
    return {**kept, "PYTHONPATH": str(ROOT), "TZ": "UTC", "TERM": "xterm-256color", **more}


def click_runner():
    """Give click's runner, which keeps standard output and error apart."""
    try:
        return CliRunner(mix_stderr=False)
    except TypeError:
        # From click 8.2 on it does so by itself.
        return CliRunner()
