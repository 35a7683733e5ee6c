# ruff: noqa: INP001  a script beside the pictures that it draws, not a package
"""Draws docs/drawings/terminal.svg, what `make demo` prints: `python docs/drawings/terminal.py`.

It runs the demo, so times are those of the machine that drew it.
"""

import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WIDTH = 78
"""Columns."""

THEME = TerminalTheme(
    (29, 33, 41),
    (214, 219, 227),
    [
        *((29, 33, 41), (224, 108, 108), (127, 200, 146), (224, 168, 60)),
        *((110, 165, 225), (190, 140, 220), (95, 190, 190), (214, 219, 227)),
    ],
)

FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
  <title>make demo: a worker delivers timers when they are due, to the millisecond</title>
  <style>
    .{unique_id}-matrix {{
      font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
      font-size: {char_height}px;
      line-height: {line_height}px;
      font-variant-east-asian: full-width;
    }}
    {styles}
  </style>
  <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
  </defs>
  {chrome}
  <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
  </g>
</svg>
"""
"""As rich's own, but for the fonts: that would fetch them from elsewhere."""

STYLES = (
    (r"^\$.*", "bold"),
    (r"\bfired: .*", "bold green"),
    (r"\bcancelled, never fired|\bcancels\b", "yellow"),
    (r"\bschedules\b", "cyan"),
    (r"\bmoves\b", "magenta"),
    (r"[\d.]+ ms\b", "bold green"),
    (r"^All went as it should\.", "bold green"),
)
"""What to paint, and how."""


def main() -> None:
    """Run the demo, and draw what it prints."""
    ran = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    text = Text(f"$ make demo\n{ran.stdout.rstrip()}")
    for pattern, style in STYLES:
        text.highlight_regex(re.compile(pattern, re.MULTILINE), style)
    console = Console(record=True, width=WIDTH, file=StringIO())
    console.print(text)
    drawn = console.export_svg(title="", theme=THEME, code_format=FORMAT, unique_id="demo")
    (HERE / "terminal.svg").write_text(re.sub(r"[ \t]+$", "", drawn, flags=re.MULTILINE))


if __name__ == "__main__":
    main()
