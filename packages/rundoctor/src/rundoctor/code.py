"""Which code ran: one hash over every file that decides what a run does.

Training records it in ``provenance.json`` when it starts; the rule ``stale-build`` compares it with
the source tree.  Both call this module, so that they cannot disagree about what is hashed.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("av_td3", "minicarla", "rundoctor")


class CodeState(NamedTuple):
    """What the files of some packages hold.

    Attributes:
        sources: SHA-256 over names and bytes of all sources and data (presets, gates, maps, pages).
        compiled: SHA-256 over the compiled extension modules, "" where there are none.  They differ
            between machines, so they are compared only with themselves.
        changed: the latest modification of any of these files, seconds since the epoch.
    """

    sources: str
    compiled: str
    changed: float


def installed() -> dict[str, Path]:
    """The folders that this process imports the packages from; without those that are not installed."""
    out = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            out[name] = Path(spec.origin).parent
    return out


def in_tree(root: Path) -> dict[str, Path]:
    """The packages' folders in a source tree; empty where it holds none of them.

    Args:
        root: a checkout (``packages/NAME/src/NAME``), or a folder that holds the packages themselves.
    """
    out = {}
    for name in PACKAGES:
        for folder in (root / "packages" / name / "src" / name, root / name):
            if folder.is_dir():
                out[name] = folder
                break
    return out


def code_state(folders: Mapping[str, Path]) -> CodeState:
    """Hash the files of packages, by package name and relative path.

    Raises:
        OSError: a file cannot be read.
    """
    sources, compiled = hashlib.sha256(), hashlib.sha256()
    some_compiled, changed = False, 0.0
    for name, folder in sorted(folders.items()):
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or "__pycache__" in path.parts:
                continue
            binary = path.suffix in (".so", ".pyd")
            some_compiled |= binary
            digest = compiled if binary else sources
            digest.update(f"{name}/{path.relative_to(folder)}\0".encode())
            digest.update(path.read_bytes())
            changed = max(changed, path.stat().st_mtime)
    return CodeState(sources.hexdigest(), compiled.hexdigest() if some_compiled else "", changed)
