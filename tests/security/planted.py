"""Secrets that tests plant, and the look for them in what programs say."""

import sys

SECRETS = ("PLANTED-BODY-7f3a", "PLANTED-HEADER-91c2", "PLANTED-PASSWORD-e08d")
"""A body, a header's value and a password."""

HOSTILE = "\n2026-01-01 ERROR forged\r\x1b[31m\x1b]0;title\x07\x9b2J\u202e\u2028\u200b\0end"
"""What would forge a line of a log, colour a terminal, clear it, turn text over."""


def assert_tame(text: str, more: str = "") -> None:
    """Fail where a text drives a terminal, or has a line that `HOSTILE` forged."""
    wild = {c for c in text if not c.isprintable() and c not in f"\n{more}"}
    assert not wild, (wild, text)
    assert not [line for line in text.splitlines() if line.startswith("2026-01-01 ERROR forged")]


def assert_no_secret(*texts: str) -> None:
    """Fail where a text has a secret, however it was encoded or broken into lines."""
    for text in texts:
        squeezed = "".join(text.split())
        for secret in SECRETS:
            for form in (secret, secret.encode().hex(), secret[:14]):
                at = squeezed.find(form)
                assert at < 0, f"{secret} in ...{squeezed[max(0, at - 300) : at + 80]}..."


def say(*things: object) -> None:
    """Print, as a program that is being debugged does."""
    sys.stdout.write(" ".join(map(str, things)) + "\n")
