"""The code of docs/celery.md is that of the example and of its tests, which run."""

import re

import pytest
from command_line import ROOT

PAGE = (ROOT / "docs" / "celery.md").read_text()
FILES = [
    *(ROOT / "examples" / "celery_app").glob("*.py"),
    ROOT / "tests" / "celery_recipe" / "test_celery_eager.py",
]


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_code_of_the_page_is_code_that_runs(code):
    assert any(code in file.read_text() for file in FILES)
