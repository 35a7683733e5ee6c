"""Runs the Python blocks of README.md, one after the other, as one program on a real server.

A block may use ``await`` outside of functions: all blocks run in one event loop.
"""

import ast
import asyncio
import inspect
import warnings
from contextlib import ExitStack
from typing import Any

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from examples.embedded_server import embedded_server

URL_OF_THE_README = "redis://localhost:6379"

_resources = ExitStack()


def _set_up(namespace: dict[str, Any]) -> None:
    # A server of our own whatever REDIS_URL says: the README's topics may be somebody's.
    namespace["_url"] = _resources.enter_context(embedded_server(config={}))
    namespace["_runner"] = _resources.enter_context(asyncio.Runner())


def _tear_down(_: dict[str, Any]) -> None:
    _resources.close()


def _run(example: Example) -> None:
    space = example.namespace
    # The empty lines let tracebacks show the README's line numbers.
    source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
    code = compile(
        source.replace(URL_OF_THE_README, space["_url"]),
        example.path,
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
    )
    with warnings.catch_warnings():
        # FastStream's TestBroker reads the code around it, which it can't in Markdown.
        warnings.filterwarnings("ignore", r"\nError .* AST parsing", RuntimeWarning)
        # Without any await this has run when eval returns.
        result = eval(code, space)  # noqa: S307  it is our README
        if inspect.iscoroutine(result):
            space["_runner"].run(result)


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser(language="python", evaluator=_run)],
    patterns=["README.md"],
    setup=_set_up,
    teardown=_tear_down,
).pytest()
