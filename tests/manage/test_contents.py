"""Bodies as text to show."""

import tracemalloc
from datetime import UTC, datetime

import pytest

from faststream_redis_timers_sync.manage.contents import MOST_BODY, body_text
from faststream_redis_timers_sync.protocol.model import Timer

LARGE = 1024 * 1024


def timer_of(body: bytes, content_type: str | None = "application/json") -> Timer:
    return Timer(
        topic="t",
        timer_id="a",
        due_at=datetime(2099, 1, 1, tzinfo=UTC),
        running=False,
        body=body,
        content_type=content_type,
        correlation_id="a",
    )


@pytest.mark.parametrize(
    ("body", "text", "is_json"),
    [
        (b'{"a":[1,2]}', '{\n  "a": [\n    1,\n    2\n  ]\n}', True),
        (b'"tab\\t"', '"tab\\t"', True),
        (b"\xff", repr(b"\xff"), False),
        (b"", "", False),
    ],
)
def test_json_is_indented_and_bytes_are_written_as_python_does(body, text, is_json):
    content_type = "application/json" if is_json else None
    assert body_text(timer_of(body, content_type)) == (text, is_json)


def test_indentation_of_a_nested_body_takes_little_memory():
    depth = 400
    body = b"[" * depth + b"1," * 400_000 + b"1" + b"]" * depth
    assert len(body) < LARGE
    timer = timer_of(body)
    timer.decode()
    tracemalloc.start()

    text, is_json = body_text(timer)

    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All of it would take 300 MiB.
    assert most < 50 * LARGE
    assert is_json
    assert MOST_BODY < len(text) < 2 * MOST_BODY


@pytest.mark.parametrize("depth", [900, 1200, 5000])
def test_a_deeply_nested_body_is_shown(depth):
    body = b"[" * depth + b"]" * depth

    text, is_json = body_text(timer_of(body))

    # Python 3.12 reads one that it can't write indented; others can't read it either.
    assert is_json or text in (body.decode(), repr(body))
