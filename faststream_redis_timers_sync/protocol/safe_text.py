"""Makes text safe for logs: no forged lines, no terminal escapes, no secrets of errors."""

import re


def printable(text: str) -> str:
    """Escape characters that could forge a line of a log or control a terminal.

    Args:
        text: A topic, an id, or a server's message.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def text_of(error: BaseException) -> str:
    """Return the text of an error, on one line and without the passwords of Sentinels.

    If no Sentinel replies, redis-py puts their clients' reprs into the error, in which its
    versions 6 and 7.0 to 7.3 show passwords. The message of each Sentinel is kept.

    Args:
        error: The error of redis-py.
    """
    text = str(error)
    before, client, _ = text.partition("<redis.")
    if not client:
        return printable(text)
    said = dict.fromkeys(_SAID.findall(text))
    return printable(before.rstrip(" :") + (f": {', '.join(said)}" if said else ""))


_SAID = re.compile(r">\)>\)> - (.+?)(?=, <redis\.|$)")
