"""The output of a command: results as tables or JSON; remarks, questions and progress."""

import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import tzinfo
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TextIO

from faststream_redis_timers_sync.console.errors import CannotAskError
from faststream_redis_timers_sync.console.tables import (
    Column,
    Rows,
    narrowest,
    plain_lines,
    rich_facts,
    rich_tables,
    rich_text,
)

if TYPE_CHECKING:
    from rich.console import Console

_PATIENCE = 1.0
"""Seconds before progress is shown."""


class Output:
    """A command's streams and how to write to them.

    On a terminal, tables fit its width and have colours unless ``NO_COLOR`` is set. Elsewhere
    they are plain: one line per row, nothing cut.

    Args:
        as_json: Whether results are JSON, one object per line.
        out: Stream for results; by default the process's standard output.
        err: Stream for everything else: remarks, errors, questions, progress.
        source: Stream that answers are read from.
        zone: The time zone in which times are shown; None is the machine's.
        has_colours: Whether tables may have colours.
    """

    def __init__(
        self,
        *,
        as_json: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
        source: TextIO | None = None,
        zone: tzinfo | None = None,
        has_colours: bool = True,
    ) -> None:
        """Keep the streams; nothing is written yet."""
        self.as_json = as_json
        self.zone = zone
        self._has_colours = has_colours and not os.environ.get("NO_COLOR")
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._source = source or sys.stdin

    @property
    def is_live(self) -> bool:
        """Whether results are tables on a terminal that can be redrawn."""
        return not self.as_json and self.console() is not None

    def console(self, *, of_remarks: bool = False) -> "Console | None":
        """Return rich's console for a stream; None if it is not a terminal or rich is missing.

        Args:
            of_remarks: Whether to use the stream of remarks instead of that of results.
        """
        stream = self._err if of_remarks else self._out
        if not stream.isatty():
            return None
        try:
            from rich.console import Console  # noqa: PLC0415  only where it is printed with
        except ImportError:
            return None
        return Console(
            file=stream,
            # Without a colour system rich would still write bold and dim.
            color_system="auto" if self._has_colours else None,
            no_color=False,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def line(self, text: str) -> None:
        """Write a line of results.

        Args:
            text: The line.
        """
        _write(self._out, f"{text}\n")

    def raw(self, data: bytes) -> None:
        """Write bytes among the results, exactly as they are.

        Args:
            data: The bytes.
        """
        self._out.flush()
        if (buffer := getattr(self._out, "buffer", None)) is not None:
            buffer.write(data)
            buffer.flush()
        else:
            self._out.write(data.decode(errors="surrogateescape"))

    def record(self, values: Mapping[str, Any]) -> None:
        """Write one object as a line of JSON, in ASCII, so that any text arrives unchanged.

        Args:
            values: The object.
        """
        self.line(json.dumps(values))

    def table(self, columns: list[Column], rows: Rows) -> None:
        """Write a table, row by row as they come.

        Args:
            columns: The columns; the last one takes the rest of the width.
            rows: The rows.
        """
        console = self.console()
        # On a narrower terminal rich would drop names; plain lines wrap there.
        if console is None or console.width < narrowest(columns):
            for line in plain_lines(columns, rows):
                self.line(line)
            return
        for table in rich_tables(columns, rows):
            console.print(table)

    def facts(self, facts: Sequence[tuple[str, str]]) -> None:
        """Write names and values, one or more lines each, and an empty line.

        Args:
            facts: The names and values.
        """
        console = self.console()
        if console is not None:
            console.print(rich_facts(facts), "")
            return
        width = max(len(name) for name, _ in facts)
        for name, value in facts:
            for first, text in zip_longest([name], value.split("\n"), fillvalue=""):
                self.line(f"{first.ljust(width)}  {text}".rstrip())
        self.line("")

    def text(self, text: str, *, is_json: bool = False) -> None:
        """Write text of several lines without wrapping it.

        Args:
            text: The text.
            is_json: Whether it is JSON, which has colours on a terminal.
        """
        console = self.console()
        if console is None:
            self.line(text)
        else:
            console.print(rich_text(text, is_json=is_json), soft_wrap=True)

    def flush(self) -> None:
        """Flush the results written so far."""
        self._out.flush()

    def note(self, text: str) -> None:
        """Write a remark that is not a result.

        Args:
            text: A sentence, without a full stop.
        """
        if self._err.isatty():
            width = shutil.get_terminal_size().columns
            # Ids and topics stay whole, so that they can be copied.
            text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
        self._out.flush()
        _write(self._err, f"{text}\n")
        self._err.flush()

    def error(self, text: str) -> None:
        """Write an error.

        Args:
            text: A sentence, without a full stop.
        """
        self.note(f"Error: {text}")

    def ask(self, question: str) -> bool:
        """Ask a yes-or-no question.

        Args:
            question: The question, with its question mark.

        Returns:
            Whether the answer was yes; the default is no.

        Raises:
            CannotAskError: There is no terminal to ask on.
        """
        if not (self._source.isatty() and self._err.isatty()):
            raise CannotAskError(question)
        _write(self._err, f"{question} [y/N] ")
        self._err.flush()
        return self._source.readline().strip().lower() in {"y", "yes"}

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show the progress of work that takes longer than a second; only on a terminal.

        Args:
            title: The name of the work.
            total: The number of steps, exact or estimated.

        Yields:
            A function to call with the number of steps made since the last call.
        """
        begin = time.monotonic()
        bar: Any = None
        task: Any = None
        done = 0

        def advance(steps: int) -> None:
            nonlocal bar, task, done
            done += steps
            if bar is None and time.monotonic() - begin > _PATIENCE:
                bar = self._progress_bar()
                if bar is None:
                    return
                task = bar.add_task(title, total=total)
                bar.start()
            if bar is not None:
                bar.update(task, completed=min(done, total))

        try:
            yield advance
        finally:
            if bar is not None:
                bar.stop()

    def _progress_bar(self) -> Any:
        console = self.console(of_remarks=True)
        if console is None:
            return None
        from rich import progress  # noqa: PLC0415  as in `console`

        return progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=None),
            progress.TaskProgressColumn(),
            progress.TimeRemainingColumn(),
            console=console,
            transient=True,
        )


def _write(stream: TextIO, text: str) -> None:
    if not text.isascii():
        # A terminal that can't show a character must not make the command fail.
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    stream.write(text)
