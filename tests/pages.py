"""Files that a page of the documentation shows, as a project that can be run.

A block that begins with ```` ```py title="shop/models.py" ```` is such a file. It is not run where
it stands; an invisible block of the page writes all of them into a folder and runs them there.
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FILE = re.compile(r'^ *```\w+ +title="([^"]+)"[^\n]*\n(.*?)^ *```$', re.MULTILINE | re.DOTALL)


def files_of(page: str) -> dict[str, str]:
    """Give the files that a page shows: name -> text; parts of the same name in a row.

    Args:
        page: Its path from the root of the project.
    """
    files: dict[str, str] = {}
    for name, text in _FILE.findall((ROOT / page).read_text()):
        files[name] = files[name] + "\n\n" + text if name in files else text
    return files


def write_project(page: str, folder: Path, **replacements: str) -> None:
    """Write the files that a page shows.

    Args:
        page: Its path from the root of the project.
        folder: Where.
        **replacements: Name of a file with ``_`` for each character that is no letter -> text
            that is put in front of it.
    """
    for name, text in files_of(page).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(replacements.get(re.sub(r"\W", "_", name), "") + text)


def environment(**variables: str) -> dict[str, str]:
    """Give the environment for a process that uses this checkout."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    binaries = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": os.pathsep.join(binaries),
        "PYTHONUNBUFFERED": "1",
        **variables,
    }
