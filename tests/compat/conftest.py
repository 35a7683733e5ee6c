"""Two versions of the library as processes that share topics: the kept wheel, and the checkout."""

import fcntl
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from command_line import ROOT, environment
from leaks import keys_under, leftovers
from peers import PROGRAM, WHEEL, Peer


@pytest.fixture(scope="session")
def previous_python() -> Path:
    """Python of an environment with the kept wheel and what pip finds for it.

    It lies in the checkout, and is rebuilt only for another wheel or Python.
    """
    folder = ROOT / f".venv-compat-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    mark = folder / ".made"
    wanted = f"{hashlib.sha256(WHEEL.read_bytes()).hexdigest()} {sys.version}"
    # Processes of pytest-xdist may want it at the same time.
    with (ROOT / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists() or mark.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, WHEEL], check=True)
            mark.write_text(wanted)
    return python


@pytest.fixture(scope="module")
def shared_names() -> dict[str, str]:
    """Key names of the module: its tests have topics of their own."""
    own = f"test-{uuid4().hex}"
    return {
        "timeline_key": f"{own}-timeline",
        "payloads_key": f"{own}-payloads",
        "attempts_key": f"{own}-attempts",
    }


@pytest.fixture(scope="module")
def run_peer(previous_python, server_url, shared_names, tmp_path_factory):
    """Run a version, named "old" or "new", for the length of a ``with`` block."""
    # Not the checkout, or the old one would import the packages that lie there.
    folder = tmp_path_factory.mktemp("peers")
    pythons = {"old": [previous_python, "-P"], "new": [sys.executable]}

    @contextmanager
    def run(name):
        env = environment()
        if name == "old":
            del env["PYTHONPATH"]
        with subprocess.Popen(
            [*pythons[name], PROGRAM, server_url, json.dumps(shared_names)],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield Peer(process)
            finally:
                process.kill()

    return run


@pytest.fixture(scope="module")
def versions(run_peer, redis_client, shared_names) -> Iterator[dict[str, Peer]]:
    """Both versions; afterwards the timers of all tests have left nothing behind."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(run_peer(name)) for name in ("old", "new")}
    wrong = leftovers(redis_client, shared_names)
    left = keys_under(redis_client, shared_names)
    if left:
        redis_client.delete(*left)
    assert wrong == []
    assert left == []


@pytest.fixture(params=[("old", "new"), ("new", "old")], ids="-".join)
def pair(request, versions):
    """The version that a test calls first and the other one, either way round."""
    return tuple(versions[name] for name in request.param)


@pytest.fixture
def topic() -> str:
    """A topic of the test's own."""
    return f"topic-{uuid4().hex[:8]}"
