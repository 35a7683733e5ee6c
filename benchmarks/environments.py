"""A virtual environment for each measured system: none sees another's packages."""

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
_FOLDER = ROOT / ".venv-benchmarks"


@dataclass(frozen=True)
class System:
    """A system that is measured.

    Args:
        name: What tables and plots call it.
        script: Its script in `systems/`.
        requirements: What pip installs for it.
        is_ours: Whether it runs the packages of this repository.
    """

    name: str
    script: str
    requirements: tuple[str, ...]
    is_ours: bool = False

    @property
    def folder(self) -> Path:
        """Its virtual environment."""
        return _FOLDER / self.name.replace(" ", "-")

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def install(self) -> None:
        """Make its environment, unless it is there with the same requirements."""
        stamp = self.folder / "requirements.txt"
        wanted = "\n".join((sys.version, *self.requirements))
        if stamp.exists() and stamp.read_text() == wanted:
            return
        venv.create(self.folder, with_pip=True, clear=True)
        subprocess.run(
            [self.python, "-m", "pip", "install", "--quiet", *self.requirements], check=True
        )
        stamp.write_text(wanted)


# redis-py without hiredis in all of them.
OURS = System(
    "ours", "timers.py", ("faststream>=0.7.6,<0.8", "redis>=5.0.1,<9", "anyio"), is_ours=True
)
PACKAGE = System("0.5.4", "timers.py", ("faststream-redis-timers==0.5.4",))
LIST = System("FastStream list", "faststream_list.py", ("faststream[redis]>=0.7.6,<0.8",))
OTHERS = (
    System("arq", "arq_system.py", ("arq",)),
    System("saq", "saq_system.py", ("saq[redis]", "typing_extensions")),
    System("taskiq", "taskiq_system.py", ("taskiq", "taskiq-redis")),
    System("celery", "celery_system.py", ("celery[redis]",)),
    System("docket", "docket_system.py", ("pydocket",)),
)
