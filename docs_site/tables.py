"""Tables that can be read on a telephone: those of sentences become a card per row there."""

import re
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString

_LONG_CELL = 40
"""Characters from which on a table is one of sentences; those of numbers scroll."""

_AFTER_INLINE = 5
"""Python-Markdown's priority: when the text of cells is known."""


_LONG_NAME = 14
"""Characters from which on a name may be broken."""

_SEAMS = re.compile(r"(?<=[_.:])(?=\w)|(?<=[a-z])(?=[A-Z])")


class _Labels(Treeprocessor):
    """Notes in each cell what its column is called, and lets long names break at their seams."""

    def run(self, root: Element) -> None:
        for table in root.iter("table"):
            titles = [_text(cell) for cell in table.iter("th")]
            cells = list(table.iter("td"))
            if any(len(_text(cell)) > _LONG_CELL for cell in cells):
                table.set("data-prose", "")
            for row in table.iter("tr"):
                for title, cell in zip(titles, row.findall("td"), strict=False):
                    cell.set("data-title", title)
            for cell in cells:
                for code in cell.iter("code"):
                    _let_break(code)


def _text(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _let_break(code: Element) -> None:
    text = code.text or ""
    if len(text) < _LONG_NAME or " " in text or len(code):
        return
    first, *others = _SEAMS.split(text)
    code.text = AtomicString(first)
    for other in others:
        SubElement(code, "wbr").tail = AtomicString(other)


class Tables(Extension):
    """The extension of Python-Markdown."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  Python-Markdown's name
        """Take part.

        Args:
            md: What turns pages into HTML.
        """
        processor: Any = _Labels(md)
        md.treeprocessors.register(processor, "labelled_tables", _AFTER_INLINE)
