"""Fills in what PyPI shows of the project and depends on where its repository is.

The address stands in pyproject.toml, at ``repository`` of this hook, and nowhere else. While it is
empty the README stays as it is. With it links and pictures of the README lead to the files of the
version that is built: PyPI has no such files.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

HOME = "https://pypi.org/project/faststream-redis-timers/"

_CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<mark>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_SOURCE = re.compile(r'(<(?:img|source)\b[^>]*?\s(?:src|srcset)=")([^":]+)"')
_ON_GITHUB = re.compile(r"https://github\.com/([^/]+)/([^/]+)")


class ProjectMetadataHook(MetadataHookInterface):
    """What hatchling calls for the fields that pyproject.toml says are dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in the README and the addresses.

        Args:
            metadata: The table ``project``, which is changed.
        """
        repository = self.config["repository"].rstrip("/")
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        if repository:
            readme = make_absolute(readme, repository, f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}
        metadata["urls"] = urls_of(repository)


def urls_of(repository: str) -> dict[str, str]:
    """Return the addresses that PyPI lists beside the README.

    Args:
        repository: The repository's address; an empty one is not known yet.
    """
    if not repository:
        return {"Homepage": HOME}
    return {
        "Homepage": repository,
        "Documentation": documentation_of(repository),
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Issues": f"{repository}/issues",
        "Source": repository,
    }


def documentation_of(repository: str) -> str:
    """Return the address of the published site, or of the pages' folder if there is none.

    Args:
        repository: The repository's address.
    """
    if found := _ON_GITHUB.fullmatch(repository):
        owner, name = found.groups()
        return f"https://{owner.lower()}.github.io/{name}/"
    return f"{repository}/tree/main/docs"


def make_absolute(markdown: str, repository: str, ref: str) -> str:
    """Return a text of the repository's root with links and pictures that work anywhere.

    Args:
        markdown: The text; code blocks are left alone.
        repository: The repository's address on GitHub.
        ref: The tag or branch whose files are meant.
    """

    def replace(link: re.Match[str]) -> str:
        mark, text, target = link["mark"], link["text"], link["target"]
        if ":" in target or target.startswith("#"):
            return link[0]
        # Files have a suffix here and folders have none. A wheel is built from the sdist, where
        # most of them can't be looked at.
        is_folder = "." not in target.rpartition("/")[2]
        kind = "raw" if mark else "tree" if is_folder else "blob"
        return f"{mark}[{text}]({repository}/{kind}/{ref}/{target})"

    parts = _CODE.split(markdown)
    parts[::2] = [
        _SOURCE.sub(rf'\1{repository}/raw/{ref}/\2"', _LINK.sub(replace, part))
        for part in parts[::2]
    ]
    return "".join(parts)
