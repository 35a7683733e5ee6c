"""A virtual environment for each measured system: none sees another's packages."""

import json
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parent.parent
_FOLDER = ROOT / ".venv-benchmarks"

_SHOWN = (
    "faststream",
    "redis",
    "hiredis",
    "arq",
    "saq",
    "taskiq",
    "celery",
    "huey",
    "pydocket",
    "streaq",
)


@dataclass(frozen=True)
class System:
    """A system that is measured.

    Args:
        name: What tables and plots call it.
        script: Its script in `systems/`.
        requirements: What pip installs for it.
        statement: What a program imports of it.
        is_ours: Whether it runs the packages of this repository.
        packages: The folder that they are in.
        is_tunable: Whether other settings than its defaults serve it better.
        is_tuned: Whether it runs with them.
    """

    name: str
    script: str
    requirements: tuple[str, ...]
    statement: str = ""
    is_ours: bool = False
    packages: Path = ROOT
    is_tunable: bool = False
    is_tuned: bool = False

    @property
    def label(self) -> str:
        """Its name, and whether it is tuned."""
        return f"{self.name}, tuned" if self.is_tuned else self.name

    @property
    def folder(self) -> Path:
        """Its virtual environment."""
        return _FOLDER / self.name.replace(" ", "-")

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def tune(self) -> "System":
        """Give the same system with the settings that serve it best."""
        return replace(self, is_tuned=self.is_tunable)

    @property
    def is_installed(self) -> bool:
        """Whether its environment is there, with these requirements."""
        return self._stamp.exists() and self._stamp.read_text() == self._wanted

    @property
    def _stamp(self) -> Path:
        return self.folder / "requirements.txt"

    @property
    def _wanted(self) -> str:
        return "\n".join((sys.version, *self.requirements))

    def install(self) -> None:
        """Make its environment, unless it is installed.

        Raises:
            RuntimeError: pip could not.
        """
        if self.is_installed:
            return
        venv.create(self.folder, with_pip=True, clear=True)
        done = self._pip("install", "--quiet", *self.requirements)
        if done.returncode:
            # So that nobody takes what is there for the system.
            shutil.rmtree(self.folder)
            told = done.stderr.strip().splitlines() or ["pip gave no reason"]
            msg = f"could not be installed: {told[-1]}"
            raise RuntimeError(msg)
        self._stamp.write_text(self._wanted)

    def _pip(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    def versions(self) -> str:
        """Name the packages in its environment that matter here."""
        told = self._pip("list", "--format=json").stdout
        versions = {package["name"].lower(): package["version"] for package in json.loads(told)}
        return ", ".join(f"{name} {versions[name]}" for name in _SHOWN if name in versions)


OURS = System(
    "ours", "timers.py", ("faststream>=0.7.6,<0.8", "redis>=5.0.1,<9", "anyio"), is_ours=True
)
PACKAGE = System(
    "0.5.4",
    "timers.py",
    ("faststream-redis-timers==0.5.4",),
    "from faststream_redis_timers import TimersBroker",
    is_tunable=True,
)
ALL_ON_DUTY = System(
    "all on duty",
    "probes.py",
    # The last commit whose workers know no duty.
    (f"git+file://{ROOT}@b6826bed5c48", "redis>=5.0.1,<9"),
)
"""This library as it was when each worker of a topic answered each wake-up."""
LIST = System("FastStream list", "faststream_list.py", ("faststream[redis]>=0.7.6,<0.8",))
OTHERS = (
    System("arq", "arq_system.py", ("arq",), "from arq import create_pool", is_tunable=True),
    System("saq", "saq_system.py", ("saq[redis]", "typing_extensions"), "from saq import Queue"),
    System(
        "taskiq",
        "taskiq_system.py",
        ("taskiq", "taskiq-redis"),
        "from taskiq_redis import ListQueueBroker, ListRedisScheduleSource",
        is_tunable=True,
    ),
    System(
        "celery",
        "celery_system.py",
        ("celery[redis]",),
        "from celery import Celery",
        is_tunable=True,
    ),
    System("huey", "huey_system.py", ("huey", "redis"), "from huey import RedisHuey"),
    System(
        "docket", "docket_system.py", ("pydocket",), "from docket import Docket", is_tunable=True
    ),
    System("streaq", "streaq_system.py", ("streaq",), "from streaq import Worker", is_tunable=True),
)
"""Each as pip installs it: so arq has hiredis, which the three above have not."""
