"""The site, built once for all tests."""

import pytest
from building import build
from command_line import ROOT


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the site, without a mistake."""
    into = tmp_path_factory.mktemp("site")
    done = build(ROOT, into)
    assert done.returncode == 0, done.stdout
    return into
