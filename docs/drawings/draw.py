# ruff: noqa: INP001  a script beside the pictures that it draws, not a package
"""Draws the pictures of docs/explanation: `python docs/drawings/draw.py`.

All words stand on a ground of their own, and lines are of a middle grey, so that one file is
legible on light and on dark pages. 400 units wide, in type of 13: a phone shows it as it is.
"""

from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).parent
WIDTH = 400
LINE = 16
"""Units from one line of text to the next."""

GREY = "#808996"
"""Of lines; it has a contrast of 3.5 or more to white and to #1e2129."""

GROUNDS = {
    "note": ("#e6e9ef", "#1d2129"),
    "redis": ("#2f66a8", "#ffffff"),
    "run": ("#e0a83c", "#1d2129"),
    "end": ("#59626e", "#ffffff"),
    "good": ("#277a55", "#ffffff"),
    "bad": ("#b23a3a", "#ffffff"),
}
"""Kind of a box -> its ground and its ink."""


class Drawing:
    """An SVG file in the making.

    Args:
        name: Its file, without the suffix.
        title: What a reader who does not see it is told.
        height: In units.
    """

    def __init__(self, name: str, title: str, height: int) -> None:
        """Begin it."""
        self.name = name
        self.height = height
        self.parts = [f"<title>{escape(title)}</title>", _HEADS]

    def box(self, x: float, y: float, width: float, kind: str, *lines: str, bold: int = 0) -> None:
        """Write lines into a box, centred.

        Args:
            x: Its middle.
            y: Its upper edge.
            width: Its width.
            kind: Of `GROUNDS`.
            *lines: The text.
            bold: How many of the lines, from the first, are bold.
        """
        ground, ink = GROUNDS[kind]
        self.parts.append(
            f'<rect x="{x - width / 2:g}" y="{y:g}" width="{width:g}" '
            f'height="{len(lines) * LINE + 9:g}" rx="5" fill="{ground}"/>'
        )
        for number, line in enumerate(lines):
            weight = ' font-weight="700"' if number < bold else ""
            self.parts.append(
                f'<text x="{x:g}" y="{y + 17 + number * LINE:g}" fill="{ink}"{weight}>'
                f"{escape(line)}</text>"
            )

    def bar(self, x: float, y: float, height: float, kind: str) -> None:
        """Draw the time that something takes, downwards.

        Args:
            x: Its middle.
            y: Its upper edge.
            height: Its height.
            kind: Of `GROUNDS`.
        """
        self.parts.append(
            f'<rect x="{x - 5:g}" y="{y:g}" width="10" height="{height:g}" rx="3" '
            f'fill="{GROUNDS[kind][0]}"/>'
        )

    def line(self, path: str, *, head: bool = True, dashed: bool = False) -> None:
        """Draw a line.

        Args:
            path: As SVG's ``d``.
            head: Whether an arrow ends it.
            dashed: Whether it is dashed.
        """
        end = ' marker-end="url(#head)"' if head else ""
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{GREY}" stroke-width="2"{end}{dash}/>'
        )

    def save(self) -> None:
        """Write the file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" '
            f'width="{WIDTH * 1.5:g}" height="{self.height * 1.5:g}" role="img" '
            'font-family="Helvetica, Arial, sans-serif" font-size="13" text-anchor="middle">'
        )
        text = "\n".join([head, *self.parts, "</svg>\n"])
        (HERE / f"{self.name}.svg").write_text(text)


_HEADS = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" '
    f'markerHeight="5" orient="auto"><path d="M0 0 8 4 0 8Z" fill="{GREY}"/></marker></defs>'
)


def draw_life() -> None:
    """Draw the states of a timer, and what leads from one to the next."""
    drawing = Drawing(
        "life",
        "The life of a timer: scheduled, it waits with its due time as score. A claim makes it "
        "run, with the end of its lease as score. A commit removes it. It waits again if its "
        "handler fails, or its worker stops or dies. Cancelling removes it.",
        378,
    )
    middle, width = 180, 166
    drawing.box(middle, 4, 200, "note", "publish( ), schedule( )")
    drawing.line(f"M{middle} 29V48")
    drawing.box(middle, 50, width, "redis", "waiting", "score: when it is due", bold=1)
    drawing.line(f"M{middle} 91V166")
    drawing.box(middle, 106, 184, "note", "due, and a worker has a", "free slot: claim")
    drawing.box(middle, 168, width, "run", "running", "score: end of its lease", bold=1)
    drawing.line(f"M{middle} 209V292")
    drawing.box(middle, 228, 144, "note", "handler returns:", "commit")
    drawing.box(middle, 294, width, "end", "gone", "from both keys", bold=1)

    # Back to waiting.
    drawing.line("M263 188H337V70H265")
    drawing.box(337, 106, 120, "note", "error, SIGTERM,", "worker dies")
    # Cancelled.
    drawing.line("M97 70H44V314H95")
    drawing.line("M97 188H44", head=False)
    drawing.box(44, 228, 84, "note", "cancel")

    drawing.box(200, 345, 396, "note", "Rescheduled or scheduled again: waits, even while running")
    drawing.save()


def draw_lease() -> None:
    """Draw a handler that outlives its lease, and the worker that takes over."""
    drawing = Drawing(
        "lease",
        "Two workers and one lease. Worker A claims the timer and gets lease 1, which ends 30 "
        "seconds later. Its handler takes longer. Worker B claims the timer and gets lease 2. "
        "A commits under lease 1: nothing happens, and A logs a warning. B commits under lease "
        "2: the timer is removed.",
        446,
    )
    a, server, b = 62, 200, 338
    lanes = ((a, "note", "worker A"), (server, "redis", "Redis"), (b, "note", "worker B"))
    for x, kind, name in lanes:
        drawing.line(f"M{x} 30V420", head=False, dashed=True)
        drawing.box(x, 4, 104, kind, name, bold=1)

    drawing.line(f"M{a} 52H{server - 62}")
    drawing.box(a, 40, 60, "note", "claim")
    drawing.box(server, 40, 120, "redis", "score = lease 1,", "now + 30 s")
    drawing.line(f"M{server - 60} 72H{a + 7}")
    drawing.bar(a, 68, 246, "run")
    drawing.box(a, 96, 104, "run", "handler runs")

    drawing.box(server, 150, 120, "end", "lease 1 ends")
    drawing.line(f"M{b} 202H{server + 62}")
    drawing.box(b, 190, 60, "note", "claim")
    drawing.box(server, 190, 120, "redis", "score = lease 2,", "now + 30 s")
    drawing.line(f"M{server + 60} 222H{b - 7}")
    drawing.bar(b, 218, 152, "run")
    drawing.box(b, 246, 104, "run", "handler runs")

    drawing.line(f"M{a} 302H{server - 62}")
    drawing.box(a, 290, 104, "note", "commit", "of lease 1")
    drawing.box(server, 290, 120, "bad", "not the score:", "does nothing")
    drawing.box(a, 344, 104, "note", "a warning", "in the log")

    drawing.line(f"M{b} 370H{server + 62}")
    drawing.box(b, 358, 104, "note", "commit", "of lease 2")
    drawing.box(server, 358, 120, "good", "is the score:", "removed")
    drawing.box(server, 414, 380, "note", "Both handlers ran. Only one commit counted.")
    drawing.save()


def draw_crashes() -> None:
    """Draw the way of a timer, and what is left where it is cut."""
    steps = [
        ("note", ("schedule( )",)),
        ("redis", ("Redis has it",)),
        ("note", ("the id returns",)),
        ("redis", ("it is due",)),
        ("redis", ("claimed",)),
        ("run", ("handler starts",)),
        ("run", ("its effect",)),
        ("note", ("commit",)),
        ("end", ("gone",)),
    ]
    crashes = [
        ("end", "Producer dies:", "there is no timer."),
        ("good", "Reply lost: the timer exists.", "Raises TimerOutcomeUnknownError."),
        ("end", "Server dies: the timers in", "its AOF are restored."),
        ("good", "No worker is running: it waits,", "and is delivered when one starts."),
        ("good", "Worker dies: redelivered", "when the lease expires."),
        ("good", "Handler raises: retried", "after the retry delay or lease."),
        ("bad", "Worker dies: redelivered.", "The effect takes place twice."),
        ("good", "Reply lost: the commit is sent", "again; the lease decides."),
    ]
    pitch = 56
    drawing = Drawing(
        "crashes",
        "What remains at each point where something may die; the page describes it in words.",
        len(steps) * pitch - 20,
    )
    x, width = 66, 124
    drawing.line(f"M{x} 20V{(len(steps) - 1) * pitch}", head=False)
    for number, (kind, lines) in enumerate(steps):
        drawing.box(x, 4 + number * pitch, width, kind, *lines)
    for number, (kind, *lines) in enumerate(crashes):
        y = 32 + number * pitch
        drawing.line(f"M{x} {y + 13}H160", head=False)
        drawing.parts.append(
            f'<circle cx="{x}" cy="{y + 13}" r="11" fill="{GROUNDS["bad"][0]}"/>'
            f'<text x="{x}" y="{y + 17.5}" fill="#ffffff" font-weight="700">{number + 1}</text>'
        )
        drawing.box(278, y - 7, 240, kind, *lines)
    drawing.save()


def draw_clock_changes() -> None:
    """Draw two nights in which clocks are changed, and what is due in them."""
    drawing = Drawing(
        "clock-changes",
        "What is due in Berlin on the nights of 28 March and 31 October 2027. In March the clock "
        "goes from 01:30 to 03:00: 30 2 is due at 03:00, each hour at 01:00, 03:00 and 04:00. In "
        "October it shows 02:00 and 02:30 twice: 30 2 is due at the first 02:30, each hour at "
        "02:00 and again at 02:00.",
        376,
    )
    _draw_night(
        drawing,
        4,
        "28 March: 02:00 to 03:00 is skipped",
        before=[("00:00", "01:00"), ("00:30", "01:30")],
        after=[("01:00", "03:00"), ("01:30", "03:30"), ("02:00", "04:00"), ("02:30", "04:30")],
        due={"30 2 * * *": {2}, "0 * * * *": {0, 2, 4}, "*/30 * * * *": set(range(6))},
        kinds=("redis", "run"),
    )
    _draw_night(
        drawing,
        196,
        "31 October: 02:00 to 03:00 occurs twice",
        before=[("00:00", "02:00"), ("00:30", "02:30")],
        after=[("01:00", "02:00"), ("01:30", "02:30"), ("02:00", "03:00"), ("02:30", "03:30")],
        due={"30 2 * * *": {1}, "0 * * * *": {0, 2, 4}, "*/30 * * * *": set(range(6))},
        kinds=("run", "redis"),
    )
    drawing.save()


def _draw_night(  # noqa: PLR0913  what two nights differ by
    drawing: Drawing,
    y: int,
    title: str,
    *,
    before: list[tuple[str, str]],
    after: list[tuple[str, str]],
    due: dict[str, set[int]],
    kinds: tuple[str, str],
) -> None:
    """Draw a night from the left to the right: times in UTC, in Berlin, and what is due.

    Args:
        drawing: Where to.
        y: The upper edge.
        title: What happens to the clock.
        before: Times in UTC and what the clock shows, before it is changed.
        after: Those after it.
        due: Expression -> numbers of the times at which it is due.
        kinds: Kinds of boxes for readings before and after.
    """
    first, pitch, row = 121, 50, 30
    drawing.box(200, y, 392, "end", title, bold=1)
    moments = [(*times, kinds[0]) for times in before] + [(*times, kinds[1]) for times in after]
    for number, name in enumerate(("UTC", "Berlin", *due)):
        middle = y + (number + 1) * row + 12
        drawing.line(f"M92 {middle}H396", head=False)
        drawing.box(48, middle - 12, 88, "note", name)
    for number, (utc, reading, kind) in enumerate(moments):
        x = first + number * pitch
        drawing.box(x, y + row, 46, "note", utc)
        drawing.box(x, y + 2 * row, 46, kind, reading)
        for line, numbers in enumerate(due.values()):
            if number in numbers:
                drawing.box(x, y + (line + 3) * row, 38, "good", "due")


if __name__ == "__main__":
    draw_life()
    draw_lease()
    draw_crashes()
    draw_clock_changes()
