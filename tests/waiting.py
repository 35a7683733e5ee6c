"""Waiting for a condition; no test waits for a duration."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

_PAUSE = 0.005


def _complaint(predicate: Callable[[], Any], timeout: float) -> str:
    return f"not within {timeout} s: {inspect.getsource(predicate).strip()}"


def wait_until(predicate: Callable[[], Any], timeout: float = 10.0) -> None:
    """Return as soon as the predicate holds; fail if it does not within the timeout."""
    end = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > end:
            raise AssertionError(_complaint(predicate, timeout))
        time.sleep(_PAUSE)


async def wait_until_async(
    predicate: Callable[[], Any | Awaitable[Any]], timeout: float = 10.0
) -> None:
    """Do the same without blocking the event loop; the predicate may be a coroutine function."""
    end = time.monotonic() + timeout
    while True:
        holds = predicate()
        if inspect.isawaitable(holds):
            holds = await holds
        if holds:
            return
        if time.monotonic() > end:
            raise AssertionError(_complaint(predicate, timeout))
        await asyncio.sleep(_PAUSE)
