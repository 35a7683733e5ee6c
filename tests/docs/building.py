"""How tests build the site."""

import subprocess
import sys

from command_line import environment

LONGEST_BUILD = 300.0
"""Seconds; it takes some 5."""


def build(folder, into):
    """Build a site strictly, and give the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", into],
        cwd=folder,
        env=environment(PYTHONPATH=str(folder), NO_MKDOCS_2_WARNING="1", NO_COLOR="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST_BUILD,
        check=False,
    )
