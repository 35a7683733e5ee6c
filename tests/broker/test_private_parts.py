"""FastStream's private modules: one file imports them, and CONTRIBUTING lists them."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = ROOT / "faststream_redis_timers" / "_faststream.py"
PRIVATE = "faststream._internal"


def private_imports(path):
    """Give the private modules of FastStream that a file imports from, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PRIVATE):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(PRIVATE))


def test_one_file_imports_from_private_modules():
    files = {
        path
        for folder in ("faststream_redis_timers", "faststream_redis_timers_sync", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if list(private_imports(path))
    }

    assert files == {OURS}


def test_contributing_lists_them():
    text = (ROOT / "CONTRIBUTING.md").read_text()

    told = set(re.findall(rf"`({re.escape(PRIVATE)}[\w.]*)`", text))
    assert told == set(private_imports(OURS))
