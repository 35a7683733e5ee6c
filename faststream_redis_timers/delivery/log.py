"""The function that writes to the broker's log."""

from typing import Protocol


class Log(Protocol):
    """Writes a line to the broker's log."""

    def __call__(self, level: int, message: str, error: BaseException | None = None, /) -> None:
        """Log a message of a `logging` level, with an error's traceback if given."""
        ...
