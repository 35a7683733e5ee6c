"""Pages made from files outside of docs/, and links to such files."""

import ast
import os
import re
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
ROOT = DOCS.parent

_LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?(\))")
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_BELOW_PAGES = "---\nsearch:\n  boost: 0.5\n---\n\n"
_LANGUAGES = {".py": "python", ".html": "html+jinja", ".css": "css"}

ANCHORS = {"README.md": "index.md"}
"""Where links to files lead that another page stands for on the site."""


def relink(markdown: str, source: Path, shown_at: str) -> str:
    """Lead links that leave docs/ to the pages made from those files.

    A link to what is no page stays as it is, and MkDocs complains of it.

    Args:
        markdown: The text; links in code are left alone.
        source: The file that it comes from, from where its links start.
        shown_at: The page's path in docs/.
    """

    def replace(link: re.Match[str]) -> str:
        target, anchor = link[2], link[3] or ""
        if ":" in target:
            return link[0]
        path = Path(os.path.normpath(source.parent / target))
        if path.is_relative_to(DOCS) and source.is_relative_to(DOCS):
            return link[0]
        name = os.path.relpath(path, ROOT)
        page = ANCHORS.get(name + anchor) or _place_of(path, name)
        if page is None:
            return link[0]
        if name + anchor in ANCHORS:
            anchor = ""
        shown_link = os.path.relpath(page, Path(shown_at).parent)
        return f"{link[1]}{shown_link}{anchor}{link[4]}"

    parts = _CODE.split(markdown)
    parts[::2] = [_LINK.sub(replace, text) for text in parts[::2]]
    # A link's text may be code, which the split has torn from it.
    return _join_links("".join(parts), replace)


def _join_links(markdown: str, replace: Callable[[re.Match[str]], str]) -> str:
    fences = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    torn = re.compile(r"(`\]\()([^)#\s]+)(#[^)\s]*)?(\))")
    fences[::2] = [torn.sub(replace, text) for text in fences[::2]]
    return "".join(fences)


def _place_of(path: Path, name: str) -> str | None:
    if path.is_relative_to(DOCS):
        return os.path.relpath(path, DOCS)
    for page in (name, f"{name}.md", f"{name.removesuffix('.py')}.md", _RENAMED.get(name, "")):
        if page in PAGES:
            return page
    return None


def _text_page(name: str, shown_at: str) -> Callable[[], str]:
    def make() -> str:
        source = ROOT / name
        return relink(source.read_text(), source, shown_at)

    return make


def _code_page(path: Path) -> Callable[[], str]:
    def make() -> str:
        title = f"{_BELOW_PAGES}# {path.relative_to(ROOT)}"
        if path.is_file():
            return f"{title}\n\n{_fence(path)}"
        parts = [title]
        for file in sorted(path.rglob("*")):
            if file.suffix in _LANGUAGES and file.stat().st_size:
                parts += [f"## {file.relative_to(path)}", _fence(file)]
        return "\n\n".join(parts)

    return make


def _fence(file: Path) -> str:
    return f"```{_LANGUAGES[file.suffix]}\n{file.read_text().rstrip()}\n```\n"


def _examples() -> list[Path]:
    return [
        path
        for path in sorted((ROOT / "examples").iterdir())
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()
    ]


def _summary(path: Path) -> str:
    file = path if path.is_file() else path / "__init__.py"
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _list_of_examples() -> str:
    lines = [
        "# Examples",
        "",
        "Run an example from a checkout with `python -m examples.NAME`. It starts its own server,",
        "or uses that of `REDIS_URL`. Run those that begin with `test_` with pytest.",
        "",
        "| example | content |",
        "|---|---|",
    ]
    lines += [f"| [{path.stem}]({path.stem}.md) | {_summary(path)} |" for path in _examples()]
    return "\n".join(lines)


def _file(name: str) -> Callable[[], str]:
    return (ROOT / name).read_text


_RENAMED = {
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
}

PAGES: dict[str, Callable[[], str]] = {
    "examples/all.md": _list_of_examples,
    **{f"examples/{path.stem}.md": _code_page(path) for path in _examples()},
    **{page: _text_page(name, page) for name, page in _RENAMED.items()},
    **{
        name: _file(name)
        for name in (
            "dashboards/faststream-redis-timers.json",
            "benchmarks/results/alternatives-lateness.svg",
            "benchmarks/results/alternatives-throughput.svg",
            "benchmarks/results/figures.json",
        )
    },
    **{
        name: _text_page(name, name)
        for name in ("benchmarks/README.md", "benchmarks/results/table.md")
    },
    "tests/celery_recipe/test_celery_eager.md": _code_page(
        ROOT / "tests" / "celery_recipe" / "test_celery_eager.py"
    ),
}
"""Path of each made page or file in docs/, and what makes its text."""
