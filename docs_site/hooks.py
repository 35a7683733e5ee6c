"""The hooks of MkDocs: pages made from files of the repository, and what is made by code.

A page says ``<!-- made by NAME -->`` where the text of `docs_site.made.MAKERS[NAME]` goes.
"""

import logging
import re
import tomllib
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs_site.made import MAKERS
from docs_site.repository import DOCS, PAGES, relink
from docs_site.tables import Tables

# A warning fails a strict build.
_log = logging.getLogger("mkdocs.hooks")
_INVISIBLE = re.compile(r"^<!-- invisible-code-block.*?^-->\n?", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"^<!-- made by (\w+) -->$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add what makes tables fit for narrow screens, and a link to the repository.

    Args:
        config: MkDocs' configuration.
    """
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())
    # An empty one is none; it is filled in there for all. As repo_url it would make each page ask
    # GitHub for stars.
    if repository := project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]:
        config.extra["social"] = [
            {"icon": "fontawesome/brands/git-alt", "link": repository, "name": "Repository"}
        ]
    config.markdown_extensions.append(Tables())
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages and files that come from outside of docs/.

    Args:
        files: What MkDocs has found in docs/.
        config: Its configuration.
    """
    for path, make in PAGES.items():
        files.append(File.generated(config, path, content=make()))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Put in what code makes, and lead links to the repository's files to their pages.

    Args:
        markdown: The page's text.
        page: The page.
    """

    def make(marker: re.Match[str]) -> str:
        if (maker := MAKERS.get(marker[1])) is None:
            _log.warning("%s: nothing is made by %r", page.file.src_uri, marker[1])
            return marker[0]
        return maker()

    # A page that was made has its own place as where its links start.
    if page.file.src_uri in PAGES:
        return markdown
    markdown = _MARKER.sub(make, _INVISIBLE.sub("", markdown))
    return relink(markdown, DOCS / page.file.src_uri, page.file.src_uri)


def on_serve(server: Any, **_: Any) -> Any:
    """Build again when the sources of made pages change.

    Args:
        server: The server of `mkdocs serve`.
    """
    for name in ("examples", "docs_site", "CHANGELOG.md", "CONTRIBUTING.md"):
        server.watch(str(DOCS.parent / name))
    return server
