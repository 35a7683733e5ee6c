"""Opens the web pages of an example, as its output says."""

import base64
import re
import urllib.error
import urllib.request

import pytest
from command_line import LONGEST


def open_pages(output):
    """Sign in to the pages that an example tells of; nobody else may see them.

    Args:
        output: All that the example has written.

    Returns:
        The page of topics, as HTML.
    """
    address, user, password = re.search(
        r"^(http\S+) shows timers: user (\S+), password (\S+)$", output, re.MULTILINE
    ).groups()
    for wrong in (None, f"{user}:wrong", f"{user}:", f"other:{password}"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            _open(address, wrong)
        with refused.value as response:
            assert response.code == 401
            assert b"Topics</h1>" not in response.read()
    return _open(address, f"{user}:{password}")


def _open(address, credentials):
    request = urllib.request.Request(address)  # noqa: S310
    if credentials:
        # Added again after a redirect to the address with a slash.
        word = base64.b64encode(credentials.encode()).decode()
        request.add_header("Authorization", f"Basic {word}")
    with urllib.request.urlopen(request, timeout=LONGEST) as response:  # noqa: S310
        return response.read().decode()
