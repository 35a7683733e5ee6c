"""What PyPI shows of the project, and how it changes once the repository's address is filled in."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from command_line import ROOT

from hatch_build import make_absolute, urls_of

REPOSITORY = "https://github.com/owner/name"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TARGETS = re.compile(r"\]\(([^)\s]+)\)")
SOURCES = re.compile(r'(?:src|srcset)="([^"]+)"')


@pytest.fixture
def built_metadata(tmp_path):
    """Fill in the address of a repository, and give the metadata that a build then has."""

    def build(repository):
        for name in ("pyproject.toml", "README.md", "LICENSE", "hatch_build.py"):
            shutil.copy(ROOT / name, tmp_path)
        text = (tmp_path / "pyproject.toml").read_text()
        place = re.compile(r'^repository = ".*"$', re.MULTILINE)
        assert len(place.findall(text)) == 1
        (tmp_path / "pyproject.toml").write_text(place.sub(f'repository = "{repository}"', text))
        done = subprocess.run(
            [sys.executable, "-m", "hatchling", "metadata"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        return json.loads(done.stdout)

    return build


def test_links_of_the_readme_lead_to_the_files_of_the_version(built_metadata):
    metadata = built_metadata(f"{REPOSITORY}/")

    version = PROJECT["project"]["version"]
    text = metadata["readme"]["text"]
    targets = TARGETS.findall(text)
    assert len(targets) > 20
    assert {urlsplit(target).scheme for target in targets} == {"https"}
    assert f"{REPOSITORY}/raw/v{version}/docs/drawings/terminal.svg" in targets
    charts = [target for target in targets if target.endswith(".svg")]
    assert all(chart.startswith(f"{REPOSITORY}/raw/v{version}/") for chart in charts)
    assert not re.search(r'(?:src|srcset)="(?!https:)', text)
    screenshot = f"{REPOSITORY}/raw/v{version}/docs/drawings/web/topics-light.webp"
    assert screenshot in SOURCES.findall(text)
    assert f"{REPOSITORY}/blob/v{version}/docs/quickstart.md" in targets
    assert f"{REPOSITORY}/tree/v{version}/examples" in targets
    assert metadata["urls"]["Source"] == REPOSITORY
    assert metadata["urls"]["Issues"] == f"{REPOSITORY}/issues"
    assert metadata["urls"]["Documentation"] == "https://owner.github.io/name/"


def test_the_site_is_named_only_if_the_repository_is_on_github():
    assert urls_of("https://github.com/Owner/Name")["Documentation"] == (
        "https://owner.github.io/Name/"
    )
    elsewhere = "https://git.example/owner/name"
    assert urls_of(elsewhere)["Documentation"] == f"{elsewhere}/tree/main/docs"


def test_each_link_of_the_readme_is_a_file_or_folder_and_is_taken_for_it():
    readme = make_absolute((ROOT / "README.md").read_text(), REPOSITORY, "v1")

    for target in TARGETS.findall(readme) + SOURCES.findall(readme):
        if target.startswith(REPOSITORY):
            kind, _, path = target.removeprefix(f"{REPOSITORY}/").split("/", 2)
            assert (ROOT / path.partition("#")[0]).is_dir() == (kind == "tree"), target
            assert (ROOT / path.partition("#")[0]).exists(), target


def test_without_a_repository_the_readme_stays_as_it_is(built_metadata):
    metadata = built_metadata("")

    assert metadata["readme"]["text"] == (ROOT / "README.md").read_text()
    assert list(metadata["urls"]) == ["Homepage"]


def test_code_links_elsewhere_and_anchors_are_left_alone():
    text = "[a](https://a.example)\n[b](#b)\n```md\n[c](c.md)\n```\n![d](d.svg) [e](e.md#f)\n"
    text += '<source media="m" srcset="f.webp">\n<img alt="g" src="https://a.example/g.png">\n'

    assert make_absolute(text, REPOSITORY, "v1") == (
        "[a](https://a.example)\n[b](#b)\n```md\n[c](c.md)\n```\n"
        f"![d]({REPOSITORY}/raw/v1/d.svg) [e]({REPOSITORY}/blob/v1/e.md#f)\n"
        f'<source media="m" srcset="{REPOSITORY}/raw/v1/f.webp">\n'
        '<img alt="g" src="https://a.example/g.png">\n'
    )


@pytest.mark.parametrize("package", ["faststream_redis_timers", "faststream_redis_timers_sync"])
def test_both_packages_say_that_they_are_typed(package):
    assert Path(ROOT, package, "py.typed").exists()
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]
