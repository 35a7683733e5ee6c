"""Files that a page of the documentation shows, as a project that can be run.

A block that begins with ```` ```python title="shop/models.py" ```` is such a file. It is not run
where it stands, as blocks without a title are: a test in tests/guides writes all files of the page
into a folder, and runs them there as a reader would.
"""

import re
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
        files[name] = files[name] + "\n\n\n\n" + text if name in files else text
    return files


def write_project(page: str, folder: Path) -> None:
    """Write the files that a page shows.

    Args:
        page: Its path from the root of the project.
        folder: Where.
    """
    for name, text in files_of(page).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
