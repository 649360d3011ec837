"""What MkDocs does not do by itself: pages from outside docs/, and links that lead out of it.

The pages can be read in the repository, too.  There a link such as ``../CONTRIBUTING.md`` leads to a file; on
the site it leads to the page made from that file, or into the repository if ``repo_url`` has its address.
Without an address the text of the link stays, with the file's path beside it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BROUGHT = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "changelog-minicarla.md": "packages/minicarla/CHANGELOG.md",
    "changelog-rundoctor.md": "packages/rundoctor/CHANGELOG.md",
    "changelog-av-td3.md": "packages/av_td3/CHANGELOG.md",
    "examples.md": "examples/README.md",
}
"""Pages of the site whose files are elsewhere in the repository."""
_TOKEN = re.compile(
    r"(?P<code>^ *```.*?^ *```[^\n]*$)"
    r"|(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)"
    r"|(?P<inline>`[^`\n]+`)",
    re.DOTALL | re.MULTILINE,
)
"""A block of code, a link or a word of code, whichever begins first."""
_ROLE = re.compile(r":(?:func|class|data|meth|mod|attr|exc):(?=<code>)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages whose files are outside docs/."""
    for name, source in BROUGHT.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change every link of a page to where it leads on the site."""
    uri = page.file.src_uri
    source = PurePosixPath(BROUGHT.get(uri, f"docs/{uri}"))
    return rewrite(markdown, source, config.repo_url or "")


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Reduce ``:func:`name` `` in docstrings, which MkDocs would show unchanged, to the name."""
    return _ROLE.sub("", html)


def rewrite(markdown: str, source: PurePosixPath, repository: str = "") -> str:
    """The page with its links changed; code is left as it is.

    Args:
        markdown: the page's text.
        source: its path in the repository, such as ``docs/metrics.md``.
        repository: address of the repository; "" where it is not known.
    """
    places = {source: page for page, source in BROUGHT.items()}

    def link(match: re.Match[str]) -> str:
        text, target = match["text"], match["target"]
        if target is None or target.startswith("#") or re.match(r"[a-z]+:", target):
            return match[0]
        path, separator, anchor = target.partition("#")
        file = os.path.normpath(source.parent / path)
        if file in places:
            place = places[file]
        elif file.startswith("docs/"):
            place = file.removeprefix("docs/")
        elif repository:
            place = f"{repository.rstrip('/')}/blob/main/{file}"
        else:
            return text if file in text else f"{text} (`{file}`)"
        return f"{match['image']}[{text}]({place}{separator}{anchor})"

    return _TOKEN.sub(link, markdown)
