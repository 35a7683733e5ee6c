"""A worked example of an envelope: its bytes, and what each of them is."""

import struct

from faststream_redis_timers_sync.protocol.envelope import write_envelope

BODY = '{"naïve": true}'.encode()
HEADERS = {"x-tenant": "José"}
_PER_LINE = 16


def example() -> bytes:
    """Write the envelope that the page takes apart."""
    return write_envelope(
        BODY, content_type="application/json", correlation_id="order-7", headers=HEADERS
    )


def parts(envelope: bytes) -> list[tuple[int, bytes, str]]:
    """Take an envelope apart, following its own lengths.

    Args:
        envelope: Its bytes.

    Returns:
        Offset, bytes and meaning of each part, without a gap.
    """
    found: list[tuple[int, bytes, str]] = []

    def take(size: int, meaning: str) -> bytes:
        start = found[-1][0] + len(found[-1][1]) if found else 0
        found.append((start, envelope[start : start + size], meaning))
        return found[-1][1]

    def number(size: int, meaning: str) -> int:
        value = int.from_bytes(take(size, meaning), "big")
        start, raw, _ = found[-1]
        found[-1] = (start, raw, meaning.format(value))
        return value

    take(8, "magic: this is an envelope")
    number(2, "version: {}")
    number(4, "headers start at offset {}")
    data_starts_at = number(4, "the body starts at offset {}")
    for _ in range(number(2, "{} headers")):
        for what in ("name", "value"):
            size = number(2, what + " of {} bytes")
            take(size, "")
            start, raw, _ = found[-1]
            found[-1] = (start, raw, f"`{raw.decode()}`")
    if found[-1][0] + len(found[-1][1]) != data_starts_at:
        msg = f"the body starts at {data_starts_at}, not where the headers end"
        raise ValueError(msg)
    take(len(envelope) - data_starts_at, "the body, to the end")
    return found


def hex_dump() -> str:
    """Show the example part by part, as a table."""
    lines = ["| offset | bytes | meaning |", "|---:|---|---|"]
    for start, raw, meaning in parts(example()):
        rows = [raw[i : i + _PER_LINE].hex(" ") for i in range(0, len(raw), _PER_LINE)]
        shown = "<br>".join(f"`{row}`" for row in rows)
        lines.append(f"| {start} | {shown} | {meaning} |")
    return "\n".join(lines)


def write_by_hand() -> bytes:
    """Write the same envelope with `struct` alone, as a reader in another language would."""
    entries = [
        ("correlation_id", "order-7"),
        ("content-type", "application/json"),
        *HEADERS.items(),
    ]
    headers = struct.pack(">H", len(entries))
    for entry in entries:
        for text in entry:
            raw = text.encode()
            headers += struct.pack(">H", len(raw)) + raw
    front = struct.pack(">8sHII", b"\x89BIN\r\n\x1a\n", 1, 18, 18 + len(headers))
    return front + headers + BODY
