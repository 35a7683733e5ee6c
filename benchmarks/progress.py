"""Shows how far the benchmark is: a bar on a terminal, else a line per step."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from benchmarks.plan import Step


class Shown(Protocol):
    """Where progress is shown."""

    def begin(self, text: str) -> None:
        """Say what is being done."""

    def end(self) -> None:
        """Count it as done."""


class Clock:
    """How long it has taken, and will about take.

    Args:
        steps: All steps, in order.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._started = self._last = time.monotonic()
        self._ahead = [step.seconds for step in steps]
        self._behind = 0.0

    def end_step(self) -> None:
        """Count a step as done."""
        self._behind += self._ahead.pop(0)
        self._last = time.monotonic()

    def __str__(self) -> str:
        now = time.monotonic()
        # The longer it runs, the less the guesses matter, and the more what it took so far.
        pace = (self._last - self._started + 30) / (self._behind + 30)
        left = max(0.0, sum(self._ahead) * pace - (now - self._last))
        return f"{minutes(now - self._started)} passed, {minutes(left)} left"


def minutes(seconds: float) -> str:
    """Write a length of time as minutes and seconds."""
    return "{}:{:02}".format(*divmod(round(seconds), 60))


class _Lines:
    def __init__(self, console: Console, steps: Sequence[Step]) -> None:
        self._console = console
        self._clock = Clock(steps)
        self._count = len(steps)
        self._done = 0

    def begin(self, text: str) -> None:
        line = f"{self._done + 1}/{self._count} ({self._clock}) {text}"
        self._console.print(line, soft_wrap=True, markup=False)

    def end(self) -> None:
        self._clock.end_step()
        self._done += 1


class _Bar(Progress):
    def __init__(self, console: Console, steps: Sequence[Step]) -> None:
        self._doing = ""
        self._clock = Clock(steps)
        super().__init__(
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[clock]}"),
            console=console,
            expand=True,
            # Showing it must not disturb what is measured.
            refresh_per_second=1,
        )
        self._task = self.add_task("", total=len(steps), clock=self._clock)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield Text(self._doing, no_wrap=True, overflow="ellipsis")
        yield from super().get_renderables()

    def begin(self, text: str) -> None:
        self._doing = text

    def end(self) -> None:
        self._clock.end_step()
        self.advance(self._task)


@contextmanager
def shown_progress(console: Console, steps: Sequence[Step]) -> Iterator[Shown]:
    """Show progress while steps are measured.

    Args:
        console: Where to.
        steps: All steps, in order.
    """
    if not console.is_terminal:
        yield _Lines(console, steps)
        return
    with _Bar(console, steps) as bar:
        yield bar
