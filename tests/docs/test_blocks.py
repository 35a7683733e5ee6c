"""Blocks on the pages that are not Python are at least what they say they are."""

import ast
import configparser
import json
import shutil
import subprocess
import tomllib

import pytest
import yaml
from pages import DOCS, PAGES, blocks_of

INSTRUCTIONS = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "HEALTHCHECK", "RUN", "USER"}
INSTRUCTIONS |= {"EXPOSE", "WORKDIR"}


def parse_shell(text):
    shell = shutil.which("bash") or shutil.which("sh")
    done = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def parse_console(text):
    parse_shell("\n".join(line[2:] for line in text.splitlines() if line.startswith("$ ")))


def parse_ini(text):
    # A unit of systemd may name a key several times.
    units = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    units.optionxform = str
    units.read_string(text)
    assert units.sections()


def parse_dockerfile(text):
    lines = text.replace("\\\n", "").splitlines()
    words = [line.split(" ")[0] for line in lines if line and not line.startswith("#")]
    assert words
    assert set(words) <= INSTRUCTIONS
    assert words[0] in {"FROM", "ARG"}


def parse_python(text):
    # A page's block may await without a function around it.
    compile(text, "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def parse_yaml(text):
    assert list(yaml.safe_load_all(text))


def no_language(_):
    """Output, and what is shown for people alone."""


PARSERS = {
    "": no_language,
    "console": parse_console,
    "dockerfile": parse_dockerfile,
    "ini": parse_ini,
    "json": json.loads,
    "sh": parse_shell,
    "bash": parse_shell,
    "text": no_language,
    "toml": tomllib.loads,
    "yaml": parse_yaml,
    # And run: by conftest.py in the root, or by a test of the page.
    "python": parse_python,
}
BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(DOCS)}:{block.line}")
    for page in PAGES
    for block in blocks_of(page)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_what_it_says(block):
    PARSERS[block.language](block.text)
