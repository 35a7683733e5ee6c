"""What holds for all pages: files that they show are run, drawings are what their script draws."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from guide_files import ROOT, files_of

HERE = Path(__file__).parent
DRAWINGS = ROOT / "docs" / "drawings"
PAGES = [
    page.relative_to(ROOT).as_posix()
    for folder in ("explanation", "how-to", "tutorials")
    for page in sorted((ROOT / "docs" / folder).glob("*.md"))
]


@pytest.mark.parametrize("page", [page for page in PAGES if files_of(page)])
def test_a_page_that_shows_files_has_a_test_that_runs_them(page):
    tests = [test for test in HERE.glob("test_*.py") if f'PAGE = "{page}"' in test.read_text()]

    assert len(tests) == 1


def test_the_drawings_are_those_of_their_script(tmp_path):
    script = shutil.copy(DRAWINGS / "draw.py", tmp_path)
    subprocess.run([sys.executable, script], check=True)

    drawn = {file.name: file.read_text() for file in tmp_path.glob("*.svg")}
    kept = {file.name: file.read_text() for file in DRAWINGS.glob("*.svg")}
    # That of the demo tells of times, which no second run has.
    assert set(kept) - set(drawn) == {"terminal.svg"}
    assert drawn == {name: kept[name] for name in drawn}


def test_the_pictures_of_the_web_pages_are_shown_in_both_themes_and_small():
    page = (ROOT / "docs" / "how-to" / "web-pages.md").read_text()
    shown = set(re.findall(r'(?:src|srcset)="\.\./drawings/web/([^"]+)"', page))
    readme = (ROOT / "README.md").read_text()
    shown_there = set(re.findall(r'(?:src|srcset)="docs/drawings/web/([^"]+)"', readme))

    files = {file.name: file.stat().st_size for file in (DRAWINGS / "web").iterdir()}
    assert shown == set(files)
    assert shown_there == {"topics-light.webp", "topics-dark.webp"}
    assert {name.replace("-light", "-dark") for name in files} == {
        name for name in files if name.endswith("-dark.webp")
    }
    assert max(files.values()) <= 150 * 1024
