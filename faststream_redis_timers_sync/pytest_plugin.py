"""The pytest fixture `timers`. Every run of pytest loads this, so it imports nothing heavy."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faststream_redis_timers_sync.testing import FakeTimersClient


@pytest.fixture
def timers() -> "Iterator[FakeTimersClient]":
    """Return an empty `FakeTimersClient`, which needs no server; see its `scheduled`."""
    from faststream_redis_timers_sync.testing import FakeTimersClient  # noqa: PLC0415

    fake = FakeTimersClient()
    yield fake
    fake.clear()
