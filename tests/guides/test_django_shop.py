"""docs/tutorials/django-shop.md: its code is the example's, and its tests pass there.

That the example works is tested in tests/examples.
"""

import shutil

import pytest
from guide_files import ROOT, files_of

PAGE = "docs/tutorials/django-shop.md"
PROJECT = ROOT / "examples" / "django_project"
TESTS = "shop/tests.py"


@pytest.mark.parametrize("name", sorted(files_of(PAGE).keys() - {TESTS}))
def test_what_it_shows_is_in_the_example(name):
    text = (PROJECT / name).read_text()

    for part in files_of(PAGE)[name].split("\n\n\n\n"):
        assert part.strip() in text


def test_its_tests_pass(tmp_path, guide_environment, python):
    left_out = shutil.ignore_patterns("__pycache__", "*.sqlite3")
    shutil.copytree(PROJECT, tmp_path, ignore=left_out, dirs_exist_ok=True)
    (tmp_path / TESTS).write_text(files_of(PAGE)[TESTS])
    guide_environment["SHOP_DATABASE"] = str(tmp_path / "shop.sqlite3")

    assert "Ran 3 tests" in python("manage.py", "test")
