"""What a log may show: text that forges no line and drives no terminal, errors without secrets."""

import re


def printable(text: str) -> str:
    """Escape what could forge a line of a log or drive a terminal.

    Args:
        text: A topic, an id, or what a server said.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def text_of(error: BaseException) -> str:
    """Give the text of an error, on one line and without the passwords of Sentinels.

    Where no Sentinel answers, redis-py puts their clients' reprs into the error, in which its
    versions 6 and 7.0 to 7.3 show passwords. What each Sentinel said is kept.

    Args:
        error: What redis-py raised.
    """
    text = str(error)
    before, client, _ = text.partition("<redis.")
    if not client:
        return printable(text)
    said = dict.fromkeys(_SAID.findall(text))
    return printable(before.rstrip(" :") + (f": {', '.join(said)}" if said else ""))


_SAID = re.compile(r">\)>\)> - (.+?)(?=, <redis\.|$)")
