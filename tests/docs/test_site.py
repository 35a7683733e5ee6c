"""The site is whole: strictly built, with all public names, and with nothing from elsewhere."""

import importlib
import re
import shutil
import zlib
from html.parser import HTMLParser

import pytest
from building import build
from pages import DOCS, NAVIGATION, ROOT, SITE, rows_of

MODULES = [
    "faststream_redis_timers",
    "faststream_redis_timers.django",
    "faststream_redis_timers.opentelemetry",
    "faststream_redis_timers.prometheus",
    "faststream_redis_timers.testing",
    "faststream_redis_timers_sync",
    "faststream_redis_timers_sync.django",
    "faststream_redis_timers_sync.django.admin",
    "faststream_redis_timers_sync.flask",
    "faststream_redis_timers_sync.prometheus",
    "faststream_redis_timers_sync.testing",
    "faststream_redis_timers_sync.web",
]
FURTHER = {
    "faststream_redis_timers_sync.django.tasks.TimersBackend",
    "faststream_redis_timers_sync.pytest_plugin.timers",
}
"""Names that users write in settings or get as a fixture."""


def public_modules():
    found = set()
    for package in ("faststream_redis_timers", "faststream_redis_timers_sync"):
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            is_private = any(part.startswith("_") and part != "__init__" for part in parts)
            if "__all__ =" in file.read_text() and not is_private:
                found.add(".".join(part for part in parts if part != "__init__"))
    return found


def test_the_modules_with_public_names_are_known():
    assert public_modules() == {*MODULES, "faststream_redis_timers.annotations"}


def exported(module):
    """Read the names; the module of Django's tasks can't be imported with an older Django."""
    text = (ROOT / module.replace(".", "/")).with_suffix(".py")
    if not text.exists():
        text = ROOT / module.replace(".", "/") / "__init__.py"
    listed = re.search(r"^__all__ = \((.*?)\)", text.read_text(), re.DOTALL | re.MULTILINE)[1]
    return re.findall(r'"(\w+)"', listed)


@pytest.fixture(scope="module")
def inventory(site):
    data = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split(" ")[0] for line in zlib.decompress(data).decode().splitlines()}


@pytest.mark.parametrize("module", MODULES)
def test_each_public_name_is_on_a_page(inventory, module):
    names = {f"{module}.{name}" for name in exported(module)}
    assert names
    assert names - inventory == set()


def test_names_that_users_write_are_on_a_page(inventory):
    assert FURTHER - inventory == set()


def test_each_annotation_is_on_its_page():
    page = (DOCS / "reference" / "api" / "messages.md").read_text()
    rows = rows_of(page, "Annotations of handlers")
    names = importlib.import_module("faststream_redis_timers.annotations").__all__
    assert {row[0].strip("`") for row in rows} == set(names)


def redirects():
    """Give the old and the new place of each page that has moved."""
    moved = next(plugin["redirects"] for plugin in SITE["plugins"] if "redirects" in plugin)
    return {
        old.replace(".md", ".html"): new.replace(".md", ".html")
        for old, new in moved["redirect_maps"].items()
    }


@pytest.mark.parametrize(("old", "new"), redirects().items())
def test_an_old_address_leads_to_the_page(site, old, new):
    assert not (DOCS / old).with_suffix(".md").exists()
    address = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', (site / old).read_text())
    assert (site / old).parent.joinpath(address[1]).resolve() == (site / new).resolve()
    assert (site / new).exists()


MADE = {"examples/all.md": "Examples"}
OUTSIDE = {"changes.md": "CHANGELOG", "contributing.md": "CONTRIBUTING"}
OUTSIDE |= {"security-policy.md": "SECURITY"}


@pytest.mark.parametrize(("title", "place"), NAVIGATION)
def test_an_entry_of_the_navigation_is_the_title_of_its_page(title, place):
    if place in MADE:
        assert title == MADE[place]
        return
    page = ROOT / f"{OUTSIDE[place]}.md" if place in OUTSIDE else DOCS / place
    # What is at home is said there.
    wanted = "Durable timers on Redis or Valkey" if title == "Home" else title
    assert re.search(r"^# (.*)$", page.read_text(), re.MULTILINE)[1] == wanted


class Assets(HTMLParser):
    """Collects what a page loads."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag in {"script", "img", "iframe", "audio", "video", "source", "embed", "use"}:
            self.found += [attrs.get("src"), attrs.get("srcset"), attrs.get("href")]
        elif tag == "link" and attrs.get("rel") not in {"canonical", "next", "prev"}:
            self.found.append(attrs.get("href"))


def test_pages_load_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    old_places = {site / old for old in redirects()}
    for page in pages:
        assets = Assets()
        assets.feed(page.read_text())
        loaded = [asset for asset in assets.found if asset]
        assert loaded or page in old_places
        assert not [asset for asset in loaded if re.match(r"(https?:)?//", asset)], page


def test_styles_load_nothing_from_elsewhere(site):
    styles = list(site.rglob("*.css"))
    assert styles
    for style in styles:
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text()), style


HOME = "https://github.com/owner/name"
MISTAKES = """
[a page](nowhere.md), [a place on one](testing.md#nowhere), [a file](../examples/nowhere.py),
and [a name][faststream_redis_timers.Nowhere].

<!-- made by nobody -->
"""


@pytest.fixture(scope="module")
def changed_site(tmp_path_factory):
    """What a build says of a copy with mistakes and with a repository's address, and its site."""
    folder = tmp_path_factory.mktemp("changed")
    copy = folder / "copy"
    names = "*.yml *.toml docs docs_site examples dashboards benchmarks tests *.md faststream*"
    for pattern in names.split():
        for path in ROOT.glob(pattern):
            if path.is_dir():
                shutil.copytree(
                    path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                copy.mkdir(exist_ok=True)
                shutil.copy(path, copy)
    with (copy / "docs" / "index.md").open("a") as page:
        page.write(MISTAKES)
    project = copy / "pyproject.toml"
    project.write_text(
        re.sub(r'(?m)^repository = ".*"$', f'repository = "{HOME}"', project.read_text())
    )
    return build(copy, folder / "site"), folder / "site"


def test_a_broken_link_or_reference_fails(changed_site):
    done, _ = changed_site
    assert done.returncode != 0
    for mistake in ("nowhere.md", "#nowhere", "nowhere.py", "redis_timers.Nowhere", "nobody"):
        assert mistake in done.stdout
    warnings = [line for line in done.stdout.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 5, done.stdout


def test_pages_link_to_the_repository_and_ask_it_for_nothing(changed_site):
    _, folder = changed_site
    page = (folder / "testing.html").read_text()
    assert f'href="{HOME}"' in page
    # What makes the theme ask GitHub for stars and forks.
    assert 'data-md-component="source"' not in page
