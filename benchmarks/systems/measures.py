"""Bodies of any size, and the memory of a process: for `probes.py`, and for what runs it."""

import json
import re
from pathlib import Path
from typing import Any

MIB = 1024 * 1024


def make_body(size: int, number: int, due: float) -> dict[str, Any]:
    """Make a body of a size.

    Args:
        size: Bytes of its JSON, at least 80.
        number: Tells messages apart.
        due: Unix time in seconds at which it is due.
    """
    body = {"due": due, "number": number, "filler": ""}
    body["filler"] = "x" * (size - len(json.dumps(body, separators=(",", ":"))))
    return body


def peak_memory(process: int | str = "self", *, anew: bool = False) -> int:
    """Give the most bytes of memory that a process held, as Linux counts them.

    Args:
        process: Its id.
        anew: Count from here.
    """
    folder = Path("/proc") / str(process)
    if anew:
        (folder / "clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text())
    return int(found[1]) * 1024 if found else 0
