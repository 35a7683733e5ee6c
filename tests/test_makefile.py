"""The Makefile: what it says where the Python at hand won't do, and its help."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def make(*arguments):
    # Without the variables that a make around the tests has set.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        ["make", *arguments],  # noqa: S607  the make that there is
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def make_demo(tmp_path):
    """Run `make demo` for a Python that is a shell script; give its complaint."""

    def run(script):
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        done = make("demo", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
        assert done.returncode != 0
        assert done.stdout == ""
        assert not (tmp_path / "venv").exists()
        (line,) = done.stderr.splitlines()
        return line

    return run


def pretending(code):
    """Write a script that runs the real Python after some lines of preparation."""
    return f"""
[ "$1" = -c ] || exit 1
exec {sys.executable} -c "{code}
$2"
"""


def test_an_old_python_gets_one_line(make_demo):
    line = make_demo(pretending("import sys; sys.version_info = (3, 9, 2)"))

    assert "is Python 3.9, too old" in line
    assert "PYTHON=" in line


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_missing_venv_module_gets_one_line(make_demo, module):
    line = make_demo(pretending(f"import sys; sys.modules['{module}'] = None"))

    assert "has no venv module" in line
    assert "apt install python3-venv" in line


def test_a_python_that_does_not_run_gets_one_line(make_demo):
    assert "does not run" in make_demo("echo gibberish >&2; exit 127")


def test_help_lists_every_target_in_eighty_columns():
    done = make("help")

    listed = set(re.findall(r"^  make ([a-z-]+)", done.stdout, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert listed == set(phony[1].split())
    assert max(map(len, done.stdout.splitlines())) < 80
    assert make().stdout == done.stdout
