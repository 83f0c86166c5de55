"""mkdocs reads one folder only; this adds the documents that live elsewhere, and points links at where they went.

README.md becomes the index, docs/x.md becomes x.md, everything else keeps its path in the repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "plugins/**/README.md", "recipes/*.yaml")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for pattern in ELSEWHERE:
        for path in sorted(ROOT.glob(pattern)):
            site = _site_path(path.relative_to(ROOT).as_posix())
            files.append(File.generated(config, site, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    here = page.file.src_uri
    source = _repository_path(here)

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        return f"]({posixpath.relpath(_site_path(target), posixpath.dirname(here) or '.')}"

    return re.sub(r"\]\((?!https?:|#)([^)#\s]+)", moved, markdown)


def _site_path(path: str) -> str:
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def _repository_path(site: str) -> str:
    if site == "index.md":
        return "README.md"
    return f"docs/{site}" if (ROOT / "docs" / site).is_file() else site
