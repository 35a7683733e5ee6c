"""Tables: plain lines, or rich's for a terminal."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_ROWS_AT_ONCE = 100
_WIDEST = 40
_NARROWEST = 10
_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Args:
        title: Its title.
        width: Minimum width in characters. The column of names has none: it is as wide as its
            texts, which wrap.
        is_number: Whether it is aligned to the right.
        wraps: Whether longer texts wrap if the terminal has no room for them.
    """

    title: str
    width: int | None = None
    is_number: bool = False
    wraps: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with a style.

    Args:
        text: The text.
        style: The name of a rich style, for a terminal.
    """

    text: str
    style: str = ""


Rows = Iterable[Sequence[str | Cell]]
"""Rows of texts, one text per column."""


def plain_lines(columns: Sequence[Column], rows: Rows) -> Iterator[str]:
    """Lay a table out as lines, titles first; no lines if there are no rows.

    Args:
        columns: The columns.
        rows: The rows.
    """
    texts: Iterable[list[str]] = ([_text(cell) for cell in row] for row in rows)
    widths = [column.width or 0 for column in columns]
    if widths[-1]:
        texts = list(texts)
        widths = [
            width or min(_WIDEST, max(map(len, column), default=0))
            for width, column in zip(widths, zip(*texts, strict=True), strict=False)
        ]
    is_first = True
    for row in texts:
        if is_first:
            yield _plain_line(columns, widths, [column.title for column in columns])
            is_first = False
        yield _plain_line(columns, widths, row)


def _plain_line(columns: Sequence[Column], widths: list[int], texts: Sequence[str]) -> str:
    padded = (
        text.rjust(width) if column.is_number else text.ljust(width)
        for column, width, text in zip(columns, widths, texts, strict=True)
    )
    return _GAP.join(padded).rstrip()


def narrowest(columns: Sequence[Column]) -> int:
    """Return how wide a terminal must be for a table to leave room for names.

    Args:
        columns: The columns.
    """
    return sum((column.width or _NARROWEST) + len(_GAP) for column in columns)


def rich_tables(columns: Sequence[Column], rows: Rows) -> Iterator["Table"]:
    """Lay a table out for a terminal, 100 rows at a time if names come last.

    Args:
        columns: The columns.
        rows: The rows.
    """
    remaining = iter(rows)
    is_first = True
    while some := list(islice(remaining, None if columns[-1].width else _ROWS_AT_ONCE)):
        yield rich_table(columns, some, with_titles=is_first)
        is_first = False


def rich_table(
    columns: Sequence[Column], rows: Rows, *, with_titles: bool = True, **options: Any
) -> "Table":
    """Lay rows out for a terminal.

    Args:
        columns: The columns.
        rows: The rows.
        with_titles: Whether the titles come first.
        options: Further options of rich's table.
    """
    from rich import box  # noqa: PLC0415  only where it is printed with
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        # With the space between columns this makes two.
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_header=with_titles,
        header_style="bold",
        border_style="dim",
        **options,
    )
    for column in columns:
        table.add_column(
            Text(column.title),
            justify="right" if column.is_number else "left",
            min_width=column.width,
            overflow="fold",
            no_wrap=column.width is not None and not column.wraps,
        )
    for row in rows:
        table.add_row(
            *(Text(cell.text, cell.style) if isinstance(cell, Cell) else Text(cell) for cell in row)
        )
    return table


def rich_facts(facts: Sequence[tuple[str, str]]) -> "Table":
    """Lay names and values out for a terminal.

    Args:
        facts: The names and values.
    """
    from rich.table import Table  # noqa: PLC0415  as above
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name), Text(value))
    return table


def rich_text(text: str, *, is_json: bool) -> "Text":
    """Prepare text for a terminal.

    Args:
        text: The text.
        is_json: Whether it is JSON, which has colours.
    """
    from rich.highlighter import JSONHighlighter  # noqa: PLC0415  as above
    from rich.text import Text  # noqa: PLC0415

    shown = Text(text)
    if is_json:
        JSONHighlighter().highlight(shown)
    return shown


def _text(cell: str | Cell) -> str:
    return cell.text if isinstance(cell, Cell) else cell
