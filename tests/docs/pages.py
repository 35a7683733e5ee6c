"""The pages of the site and their blocks of code, as text."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w+-]*)(?P<options>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A block of code of a page."""

    language: str
    title: str
    text: str
    line: int


def _entries(navigation):
    for entry in navigation:
        for title, place in entry.items() if isinstance(entry, dict) else ():
            if isinstance(place, list):
                yield from _entries(place)
            else:
                yield title, place


SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
NAVIGATION = list(_entries(SITE["nav"]))
"""Title and file of each entry of the navigation that has both."""


def blocks_of(page):
    """Give the blocks of a page, in their order."""
    text = page.read_text()
    return [
        Block(
            found["language"],
            title[1] if (title := re.search(r'title="([^"]+)"', found["options"])) else "",
            textwrap.dedent(found["text"]),
            text.count("\n", 0, found.start()) + 1,
        )
        for found in _FENCE.finditer(text)
    ]


def rows_of(text, heading):
    """Give the cells of the first table below a heading; none of the table's head."""
    after = text.partition(f"## {heading}\n")[2]
    lines = after[after.index("|---") :].splitlines()[1:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows
