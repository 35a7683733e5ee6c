"""Secrets that tests plant, and the look for them in what programs say."""

import sys

SECRETS = ("PLANTED-BODY-7f3a", "PLANTED-HEADER-91c2", "PLANTED-PASSWORD-e08d")
"""A body, a header's value and a password."""


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
