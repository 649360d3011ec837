"""What the names of files say: TensorBoard's downloads, and the tag of a file that holds one series."""

from __future__ import annotations

import re
from pathlib import Path

from ..aliases import resolve
from .source import plain_name

_DOWNLOAD = re.compile(r"run-(?P<run>.*?)-tag-(?P<tag>.+?)(?: ?\(\d+\))?\.(?:csv|json)$", re.I)


def download_of(path: Path) -> tuple[str, str] | None:
    """(run, tag) in the name of a file that TensorBoard downloaded: ``run-NAME-tag-TAG.csv``."""
    found = _DOWNLOAD.fullmatch(plain_name(path))
    return (found["run"], _slashed(found["tag"])) if found is not None else None


def tag_of_file(path: Path) -> str:
    """The tag of a file that holds a single series."""
    download = download_of(path)
    if download is not None:
        return download[1]
    return plain_name(path).rsplit(".", 1)[0].replace("__", "/")


def _slashed(tag: str) -> str:
    """TensorBoard replaces a tag's slashes by underscores; put one back where that gives a known tag."""
    options = [tag, *(tag[:i] + "/" + tag[i + 1 :] for i, c in enumerate(tag) if c == "_")]
    for option in options:
        found, _ = resolve([option])
        if any(not m.guessed for matches in found.values() for m in matches):
            return option
    return tag
