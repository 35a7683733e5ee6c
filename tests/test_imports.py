"""What importing costs: the blocking package redis-py, the asynchronous one FastStream, no more."""

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("faststream_redis_timers", "faststream_redis_timers_sync")
FOREIGN = ("faststream.", "faststream_redis_timers.", "fast_depends", "pydantic", "anyio")


def in_a_fresh_process(code):
    """Run code that leaves its answer in the variable `answer`."""
    code += "\nimport json; print(json.dumps(answer))"
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return json.loads(output)


def test_importing_loads_nothing_foreign():
    loaded = in_a_fresh_process(
        "import sys\n"
        "from faststream_redis_timers_sync import TimersClient\n"
        "answer = sorted(sys.modules)"
    )

    assert "faststream_redis_timers_sync.client" in loaded
    assert [name for name in loaded if f"{name}.".startswith(FOREIGN)] == []


def test_beyond_redis_importing_loads_own_modules_and_a_few_of_the_standard_library():
    loaded = in_a_fresh_process(
        "import sys, redis, redis.asyncio\n"
        "before = set(sys.modules)\n"
        "from faststream_redis_timers_sync import TimersClient\n"
        "answer = sorted(set(sys.modules) - before)"
    )

    own = {name for name in loaded if name.startswith("faststream_redis_timers_sync")}
    others = {name.partition(".")[0] for name in loaded if name not in own}
    # Most of these redis-py has loaded already, which of them depends on its version.
    assert others <= {
        "base64",
        "binascii",
        "contextlib",
        "dataclasses",
        "datetime",
        "decimal",
        "_decimal",
        "enum",
        "hashlib",
        "hmac",
        "importlib",
        "json",
        "math",
        "numbers",
        "random",
        "secrets",
        "struct",
        "tempfile",
        "typing",
        "uuid",
        "_uuid",
    }


def test_text_needs_no_pydantic_and_json_loads_it():
    loaded = in_a_fresh_process(
        "import sys\n"
        "from faststream_redis_timers_sync.protocol.encoding import encode_message\n"
        "answer = []\n"
        "for message in ('text', b'bytes', None, {}):\n"
        "    encode_message(message)\n"
        "    answer.append('pydantic_core' in sys.modules)"
    )

    assert loaded == [False, False, False, True]


def test_without_pydantic_the_standard_library_writes_json():
    body, content_type = in_a_fresh_process(
        "import sys; sys.modules['pydantic_core'] = None\n"
        "from datetime import timedelta\n"
        "from faststream_redis_timers_sync.protocol.encoding import encode_message\n"
        "body, content_type = encode_message({'wait': timedelta(hours=1)})\n"
        "answer = body.decode(), content_type"
    )

    assert (body, content_type) == ('{"wait":"PT1H"}', "application/json")


def test_the_broker_is_imported_without_redis_and_what_only_tests_need():
    loaded = in_a_fresh_process(
        "import sys\n"
        "from faststream_redis_timers import TimersBroker, TimersRouter\n"
        "answer = sorted(sys.modules)"
    )

    assert "faststream_redis_timers.subscriber.loop" in loaded
    assert [name for name in loaded if f"{name}.".startswith("redis.")] == []
    assert "faststream_redis_timers.testing" not in loaded


def test_a_client_s_pool_is_read_by_those_alone_who_make_calls():
    readers = {
        f"{path.relative_to(ROOT)}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if any(
            isinstance(node, ast.Attribute) and node.attr == "connection_pool"
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }

    assert {reader for reader in readers if reader.split("/")[1] != "calls"} == set()
    # It is not blind.
    assert {reader.split("/")[0] for reader in readers} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_can_be_imported(package):
    module = importlib.import_module(package)

    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert sorted(module.__all__) == dir(module)
    assert not hasattr(module, "TimersQueue")
