"""How the end of a timer that became a dead letter is told."""

from faststream_redis_timers_sync.console.text import escape, quoted
from faststream_redis_timers_sync.protocol import dead_letters
from faststream_redis_timers_sync.protocol.model import Timer

_REASONS = {
    "attempts": "its attempts are used up",
    "rejected": "it was rejected",
    "unreadable": "it could not be read",
}


def ending_lines(timer: Timer) -> list[str]:
    """Tell how a timer ended, if it is a dead letter.

    Args:
        timer: The timer, with its headers.

    Returns:
        Lines that say why, where it comes from, and when it was first due; none where
        it is no dead letter.
    """
    headers = timer.headers
    if not dead_letters.is_dead_letter(headers):
        return []
    reason = headers[dead_letters.REASON]
    why = _REASONS.get(reason) or escape(reason)
    if attempts := headers.get(dead_letters.ATTEMPTS):
        why += f", after {escape(attempts)} " + ("attempt" if attempts == "1" else "attempts")
    if error := headers.get(dead_letters.ERROR):
        why += f", with {escape(error)}"
    lines = [why, f"topic {quoted(headers[dead_letters.TOPIC])}"]
    if timer_id := headers.get(dead_letters.TIMER_ID):
        lines[-1] += f", timer {quoted(timer_id)}"
    if due_at := headers.get(dead_letters.DUE_AT):
        lines.append(f"first due {escape(due_at)}")
    return lines
