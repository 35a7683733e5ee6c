"""Checks the wheel and the sdist that `python -m build` made, before they are published.

`make release-check` runs it: it checks their files and metadata, and, in new environments of each
named Python, that the wheel imports, works and says which extra is missing.
"""

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from shutil import copytree

from packaging.version import Version
from trove_classifiers import classifiers

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("faststream_redis_timers", "faststream_redis_timers_sync")
EXTRAS = ("cron", "cli", "django", "flask", "web", "prometheus", "otel", "demo")
BESIDE_THE_PACKAGES = {
    *("CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md"),
    *("PKG-INFO", "pyproject.toml", ".gitignore", "hatch_build.py"),
}
"""What else an sdist holds; some of these the build adds by itself."""

NEEDED = {".py": 50, ".lua": 15, ".typed": 2, ".html": 14, ".css": 2, ".js": 1}
"""How many files of a kind there are at least: none is forgotten with its folder."""

NEED_AN_EXTRA = {
    "faststream_redis_timers.prometheus": "prometheus",
    "faststream_redis_timers.opentelemetry": "otel",
    "faststream_redis_timers_sync.prometheus": "prometheus",
    "faststream_redis_timers_sync.flask": "flask",
    "faststream_redis_timers_sync.web": "web",
}
"""Modules that can't be imported without an extra, and which."""

WORKS = """
import faststream_redis_timers
import faststream_redis_timers_sync

faststream_redis_timers.Cron("0 9 * * MON-FRI", tz="Europe/Berlin")
faststream_redis_timers.TimersBroker("redis://localhost")
faststream_redis_timers_sync.TimersClient("redis://localhost").close()
print(faststream_redis_timers.__file__)
"""


def main() -> None:
    """Run all checks, and stop at the first problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--python", action="append", default=[], help="Python to install with; repeatable"
    )
    parser.add_argument("--quick", action="store_true", help="do not install each extra separately")
    parser.add_argument("--tag", help="tag of the release; also check that it may be published")
    options = parser.parse_args()
    (wheel,) = (ROOT / "dist").glob("*.whl")
    (sdist,) = (ROOT / "dist").glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    check_metadata(wheel)
    if options.tag is not None:
        check_publishable(wheel, options.tag)
    if "SOURCE_DATE_EPOCH" in os.environ:
        check_reproducible(wheel, sdist)
    else:
        say("not built again: make release-check sets the date that they were built with")
    run(sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist))
    for python in options.python or [sys.executable]:
        check_installed(python, wheel, one_by_one=not options.quick)
    say("all is as it should be")


def package_files() -> set[str]:
    """Return all files of both packages."""
    return {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def check_wheel(wheel: Path) -> None:
    """Check that it holds all files of the packages, and nothing else."""
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = package_files()
    for suffix, least in NEEDED.items():
        count = sum(name.endswith(suffix) for name in wanted)
        refuse_unless(count >= least, f"{count} {suffix} files, expected at least {least}")
    refuse_unless(not wanted - held, f"the wheel lacks {sorted(wanted - held)}")
    info = {name for name in held if ".dist-info/" in name}
    others = held - wanted - info
    refuse_unless(not others, f"the wheel should not hold {sorted(others)}")
    refuse_unless(any(name.endswith("/licenses/LICENSE") for name in info), "it has no licence")
    say(f"{wheel.name}: {len(wanted)} files of both packages, and nothing else")


def check_sdist(sdist: Path) -> None:
    """Check that it holds the packages and the files beside them, and nothing else."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = package_files() | BESIDE_THE_PACKAGES
    refuse_unless(not wanted - names, f"the sdist lacks {sorted(wanted - names)}")
    refuse_unless(not names - wanted, f"the sdist should not hold {sorted(names - wanted)}")
    say(f"{sdist.name}: the same, and {len(BESIDE_THE_PACKAGES)} files beside them")


def check_metadata(wheel: Path) -> None:
    """Check that the metadata is complete, and that the changelog has the version."""
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(archive.read(name).decode())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = project["version"]
    refuse_unless(
        str(Version(version)) == version, f"version {version} is not in PEP 440's normal form"
    )
    for field in ("Summary", "Keywords", "License-Expression", "Requires-Python", "Project-URL"):
        refuse_unless(bool(metadata[field]), f"the metadata has no {field}")
    named = metadata.get_all("Classifier", [])
    refuse_unless(len(named) >= 10, "too few classifiers")
    # PyPI refuses an upload for one that it does not know.
    unknown = set(named) - classifiers
    refuse_unless(not unknown, f"there are no classifiers {sorted(unknown)}")
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    refuse_unless(
        headings[0].split(" - ")[0] == version,
        f"CHANGELOG.md begins with {headings[0]!r}, not {version}",
    )
    say(f"version {version}, as the changelog says")


def check_publishable(wheel: Path, tag: str) -> None:
    """Check that the release is complete, and write its notes to build/notes.md.

    Args:
        wheel: The wheel.
        tag: The tag of the commit.
    """
    version = wheel.name.split("-")[1]
    refuse_unless(tag == f"v{version}", f"the tag is {tag}, but the version {version}")
    hook = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]
    refuse_unless(
        bool(hook["hooks"]["custom"]["repository"]),
        "fill in repository in pyproject.toml: without it the README's links lead nowhere on PyPI",
    )
    newest = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    heading, _, notes = newest.partition("\n")
    refuse_unless("Unreleased" not in heading, f"CHANGELOG.md still begins with {heading!r}")
    target = ROOT / "build" / "notes.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(notes.strip() + "\n")
    say(f"{tag} may be published, with the notes in {target.relative_to(ROOT)}")


def check_reproducible(wheel: Path, sdist: Path) -> None:
    """Check that a build from the sdist gives the same bytes, wherever and whenever.

    ``SOURCE_DATE_EPOCH`` must be the one that they were built with; make sets it.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with tarfile.open(sdist) as archive:
            archive.extractall(place, filter="data")
        source = place / sdist.name.removesuffix(".tar.gz")
        for file in source.rglob("*"):
            # Other rights than those in the checkout; times differ anyway.
            file.chmod(0o700 if file.is_dir() else 0o600)
        run(sys.executable, "-m", "build", "--outdir", str(place), str(source))
        for built in (wheel, sdist):
            refuse_unless(
                built.read_bytes() == (place / built.name).read_bytes(),
                f"{built.name} has other bytes when it is built again",
            )
    say("built again from the sdist, both have the same bytes")


def check_installed(python: str, wheel: Path, *, one_by_one: bool) -> None:
    """Install the wheel into new environments, and use it there."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        # Not in the checkout, or its packages would be imported.
        copytree(ROOT / "examples", place / "examples")
        bare = install(python, place / "bare", str(wheel))
        found = run(bare, "-c", WORKS, cwd=place)
        refuse_unless(str(place) in found, f"imported from {found}")
        for module, extra in NEED_AN_EXTRA.items():
            said = run(bare, "-c", f"import {module}", cwd=place, fails=True)
            last = said.strip().splitlines()[-1]
            refuse_unless(f"[{extra}]" in last, f"import {module} said {last!r}")
        said = run(bare, "-m", PACKAGES[1], cwd=place, fails=True)
        refuse_unless(
            "[cli]" in said and "Traceback" not in said, f"the command line said {said!r}"
        )
        say(f"{python}: the wheel alone imports, and names the extras that it lacks")
        for extra in EXTRAS if one_by_one else ():
            install(python, place / extra, f"{wheel}[{extra}]")
            say(f"{python}: [{extra}] installs")
        whole = install(python, place / "all", f"{wheel}[{','.join(EXTRAS)}]")
        run(
            whole,
            "-c",
            WORKS + "".join(f"import {module}\n" for module in NEED_AN_EXTRA),
            cwd=place,
        )
        run(whole, "-m", "examples.demo", cwd=place)
        say(f"{python}: with all extras it imports, and the demo runs")


def install(python: str, environment: Path, what: str) -> str:
    """Create an environment with a wheel in it, and return its Python."""
    run(python, "-m", "venv", str(environment))
    inside = str(environment / "bin" / "python")
    run(inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", what)
    return inside


def run(*command: str, cwd: Path = ROOT, fails: bool = False) -> str:
    """Run a command, and return its output."""
    done = subprocess.run(
        command, cwd=cwd, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    shown = " ".join(command[:4])
    refuse_unless(
        (done.returncode != 0) is fails, f"{shown} ended with {done.returncode}:\n{done.stdout}"
    )
    return done.stdout


def refuse_unless(holds: bool, problem: str) -> None:  # noqa: FBT001  what is checked comes first
    """Exit with the problem, unless the condition holds."""
    if not holds:
        sys.exit(f"release-check: {problem}")


def say(text: str) -> None:
    """Print a passed check."""
    print(f"ok  {text}", flush=True)


if __name__ == "__main__":
    main()
