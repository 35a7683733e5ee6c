"""Runs the Python blocks of README.md and docs/, those of a page as one program, on a real server.

A block may use ``await`` outside of functions: all blocks of a page run in one event loop. What
readers need not see stands in ``<!-- invisible-code-block: python ... -->``.

It also decides how many processes share the tests.
"""

import ast
import asyncio
import inspect
import os
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from examples.embedded_cluster import EmbeddedCluster
from examples.embedded_server import embedded_server

URL_OF_THE_PAGES = "redis://localhost:6379"
CLUSTER_OF_THE_PAGES = "redis+cluster://node-1:6379,node-2:6379"
NODE_OF_THE_PAGES = "redis://node-1:6379"

TESTED_ELSEWHERE = [
    "docs/celery.md",  # tests/celery_recipe/test_celery_page.py: they are parts of an example
    "docs/django.md",  # tests/django/test_django_page.py: they need a project
    "docs/flask.md",  # tests/flask_extension/test_flask_page.py: they need an app
    "docs/security.md",  # tests/security: they need certificates
    "docs/quickstart.md",  # tests/docs/test_start.py: they are programs
]

_resources = ExitStack()


def _set_up(namespace: dict[str, Any]) -> None:
    namespace["_runner"] = _resources.enter_context(asyncio.Runner())


def _tear_down(_: dict[str, Any]) -> None:
    _resources.close()


def _run(example: Example) -> None:
    space = example.namespace
    # The empty lines let tracebacks show the page's line numbers.
    source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
    if URL_OF_THE_PAGES in source:
        if "_url" not in space:
            # A server of our own whatever REDIS_URL says: a page's topics may be somebody's.
            space["_url"] = _resources.enter_context(embedded_server(config={}))
        source = source.replace(URL_OF_THE_PAGES, space["_url"])
    if CLUSTER_OF_THE_PAGES in source or NODE_OF_THE_PAGES in source:
        if "_cluster" not in space:
            space["_cluster"] = _resources.enter_context(EmbeddedCluster())
        source = source.replace(CLUSTER_OF_THE_PAGES, space["_cluster"].url)
        source = source.replace(NODE_OF_THE_PAGES, space["_cluster"].nodes[0].url)
    # Any free port, for the page's may be taken.
    source = source.replace("start_http_server(9000,", "start_http_server(0,")
    code = compile(source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with warnings.catch_warnings():
        # FastStream's TestBroker reads the code around it, which it can't in Markdown.
        warnings.filterwarnings("ignore", r"\nError .* AST parsing", RuntimeWarning)
        # Without any await this has run when eval returns.
        result = eval(code, space)  # noqa: S307  they are our pages
        if inspect.iscoroutine(result):
            space["_runner"].run(result)


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser(language="python", evaluator=_run)],
    patterns=["README.md", "docs/*.md", "docs/*/*.md", "docs/*/*/*.md"],
    excludes=TESTED_ELSEWHERE,
    setup=_set_up,
    teardown=_tear_down,
).pytest()


WORKERS_PER_PROCESSOR = 2
"""Processes that run tests, most of which wait more than they work."""

MOST_WORKERS = 8
"""More would be done no sooner: the longest test takes a minute, and each collects all of them."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Tell how many processes share the tests, unless ``-n`` does.

    Args:
        config: pytest's. Where files alone are named, starting processes would take longest.

    Returns:
        Their number; 0 is this process alone.
    """
    if any(Path(path.partition("::")[0]).is_dir() for path in config.args):
        return min(WORKERS_PER_PROCESSOR * (os.cpu_count() or 1), MOST_WORKERS)
    return 0
