"""The page of log messages has every line that the code writes, with its level."""

import ast
import logging
import re

import pytest
from pages import DOCS, ROOT, rows_of

PAGE = (DOCS / "reference" / "log.md").read_text()
LEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")
SOURCES = [
    *(ROOT / "faststream_redis_timers").rglob("*.py"),
    ROOT / "faststream_redis_timers_sync" / "prometheus.py",
    *(ROOT / "faststream_redis_timers_sync" / "web").rglob("*.py"),
]
HOLE = "…"
"""What stands for a value."""


def assigned(function, name):
    """Give the expressions that a function assigns to a name."""
    return [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]


def text_of(node, function):
    """Give the text that an expression writes; None where it is passed on from elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sdr]", HOLE, node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [
            part.value if isinstance(part, ast.Constant) else value_of(part.value, function)
            for part in node.values
        ]
        return re.sub(f"{HOLE}+", HOLE, "".join(parts))
    if isinstance(node, ast.Name) and len(texts := assigned(function, node.id)) == 1:
        return text_of(texts[0], function)
    if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("words."):
        return SENTENCES[node.func.attr]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        # `f"...".rstrip(": ")`
        return text_of(node.func.value, function)
    return None


def value_of(node, function):
    """Give what stands for a value: its text where that is put together just before."""
    if isinstance(node, ast.Name):
        texts = assigned(function, node.id)
        if len(texts) == 1 and isinstance(texts[0], ast.JoinedStr):
            return text_of(texts[0], function)
    return HOLE


def levels_of(node, function):
    if isinstance(node, ast.Attribute) and node.attr in LEVELS:
        yield node.attr
    elif isinstance(node, ast.IfExp):
        yield from levels_of(node.body, function)
        yield from levels_of(node.orelse, function)
    elif isinstance(node, ast.Name):
        for value in assigned(function, node.id):
            yield from levels_of(value, function)


def lines_of(function):
    for node in ast.walk(function):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in {"log", "_log", "_write_log"}:
            for level in levels_of(node.args[0], function):
                yield level, text_of(node.args[1], function)
        elif ast.unparse(node.func) == "_log.exception":
            yield "ERROR", text_of(node.args[0], function)
        elif name.upper() in LEVELS and ast.unparse(node.func).startswith("_log."):
            yield name.upper(), text_of(node.args[0], function)


def lines_of_file(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from lines_of(node)


def sentences_of(path):
    """Give what each function of a module returns."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            (returned,) = [part for part in ast.walk(node) if isinstance(part, ast.Return)]
            yield node.name, text_of(returned.value, node)


SENTENCES = dict(sentences_of(ROOT / "faststream_redis_timers" / "delivery" / "words.py"))
WRITTEN = sorted({line for source in SOURCES for line in lines_of_file(source)})


def test_lines_are_found():
    assert len(WRITTEN) > 10
    assert all(text for _, text in WRITTEN)


def shown():
    found = []
    for level in LEVELS:
        if f"## {level}\n" in PAGE:
            found += [(level, row[0].strip("`")) for row in rows_of(PAGE, level)]
    return found


def test_the_page_has_the_lines_that_the_code_writes():
    assert sorted(shown()) == WRITTEN


@pytest.mark.parametrize("level", [level for level in LEVELS if f"## {level}\n" in PAGE])
def test_each_line_has_a_meaning_and_something_to_do(level):
    assert isinstance(getattr(logging, level), int)
    for line, meaning, remedy in rows_of(PAGE, level):
        assert meaning, line
        assert remedy, line
