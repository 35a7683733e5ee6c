"""Where the words are that people read: prose of pages, messages, help, templates, docstrings.

Each place is a file and its text with everything else blanked out, line for line.
"""

import ast
import re
from typing import NamedTuple

from pages import DOCS, ROOT

PACKAGES = ("faststream_redis_timers", "faststream_redis_timers_sync")
FILES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


class Words(NamedTuple):
    """Words of a file, and in which of its lines they begin."""

    file: str
    line: int
    text: str


def _blank(found):
    return "\n" * found[0].count("\n") or " "


_NO_PROSE = [
    re.compile(pattern, re.MULTILINE | re.DOTALL)
    for pattern in (
        r"\A---\n.*?^---$",
        r"^ *(?P<fence>`{3,})[^`\n]*\n.*?^ *(?P=fence)$",
        r"<!--.*?-->",
        r"(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)",
        r"(?<=\])\([^()\s]*(?:\([^()]*\)[^()\s]*)*\)",
        r"(?<=\])\[[^\]\n]*\]",
        r"</?[a-z][^>]*>",
        r"https?://[^\s)>]+",
    )
]


def prose_of(markdown):
    """Leave the sentences of a page: no code, no targets of links, no HTML."""
    for pattern in _NO_PROSE:
        markdown = pattern.sub(_blank, markdown)
    return markdown


def pages():
    """Give the prose of all pages, and of the files that stand beside them."""
    for path in [*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in FILES)]:
        yield Words(path.relative_to(ROOT).as_posix(), 1, prose_of(path.read_text()))


def _modules():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _docstring(node):
    first = node.body[0] if node.body else None
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return first.value if is_text and isinstance(first.value.value, str) else None


def _docstrings(tree):
    # The text below a constant too, which is not a message either.
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.JoinedStr)
    }


def _text_of(node):
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text_of, node.values))
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "…"  # What is filled in.


def messages():
    """Give the sentences that code holds: errors, log lines, help, words on pages.

    Each literal of two words or more is one: they get to people by many ways.
    """
    for file, tree in _modules():
        left_out = _docstrings(tree)
        parts = {
            part
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in ast.walk(node)
            if part is not node and isinstance(part, ast.Constant)
        }
        for node in ast.walk(tree):
            if node in left_out or node in parts:
                continue
            if isinstance(node, ast.Constant | ast.JoinedStr) and " " in (text := _text_of(node)):
                yield Words(file, node.lineno, text)


def _help_of(node):
    """Tell a command of click by its decorator: its docstring is its help."""
    return any("command" in ast.dump(decorator) for decorator in node.decorator_list)


def docstrings():
    """Give the docstrings of what is exported, of its public methods, and of commands."""
    modules = list(_modules())
    public = set()
    for _, tree in modules:
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                public |= set(ast.literal_eval(node.value))
    for file, tree in modules:
        for node in tree.body:
            if not isinstance(node, _DEFINITIONS):
                continue
            if node.name not in public and not _help_of(node):
                continue
            methods = [member for member in node.body if isinstance(member, _DEFINITIONS)]
            for owner in [node, *methods]:
                is_private = owner.name.startswith("_") and owner.name != "__init__"
                if not is_private and (text := _docstring(owner)):
                    prose = re.sub(r"(`+)[^`\n]+\1", " ", text.value)
                    yield Words(file, text.lineno, prose)


_SHOWN_ATTRIBUTE = re.compile(r'\b(?:title|placeholder|aria-label|alt)="([^"]*)"')
_TRANSLATED = re.compile(r"""\{%-?\s*(?:block)?translate\s+(['"])(.*?)\1.*?%\}""", re.DOTALL)
_NO_TEXT = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<(?:style|script).*?</\w+>", re.DOTALL)


def _shown(tag):
    return " . ".join(_SHOWN_ATTRIBUTE.findall(tag[0])) + "\n" * tag[0].count("\n") or " "


def templates():
    """Give the words of the web pages and of the admin."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("templates/**/*.html")):
            text = _TRANSLATED.sub(lambda found: found[2], path.read_text())
            text = re.sub(r"<[^>]*>", _shown, _NO_TEXT.sub(_blank, text))
            yield Words(path.relative_to(ROOT).as_posix(), 1, text)
