"""Checks of numbers that users pass: TypeError for a wrong type, ValueError if out of range."""


def check_number(argument: str, value: float, expected: str = "a number of seconds") -> None:
    """Refuse a value that is not a number, or is True or False.

    Args:
        argument: Name of the argument, for the error.
        value: The value.
        expected: What it must be, for the error.

    Raises:
        TypeError: It is not a number.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        msg = f"{argument} must be {expected}, got {value!r}"
        raise TypeError(msg)


def check_count(argument: str, value: int, expected: str = "an int", *, remedy: str = "") -> None:
    """Refuse a value that is not an int of at least 1.

    Args:
        argument: Name of the argument, for the error.
        value: The value.
        expected: What it must be, for the error.
        remedy: What to do instead, for the error of a number that is too low.

    Raises:
        TypeError: It is not an int.
        ValueError: It is below 1.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{argument} must be {expected}, got {value!r}"
        raise TypeError(msg)
    if value < 1:
        msg = f"{argument} must be at least 1, got {value!r}{remedy}"
        raise ValueError(msg)
