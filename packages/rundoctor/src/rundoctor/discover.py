"""Where runs are: the files below a path that hold series, folder by folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .readers import is_event_file
from .readers.source import plain_name
from .readers.table import download_of, looks_like_table

_HPARAMS = re.compile(r"\d{9,11}\.\d+")
_RUN_FILES = ("config.yaml", "provenance.json", "status.json")
_JSON_NAMES = {"result.json", "progress.json", "metrics.json", "log.json", "train.json", "eval.json"}
_TEXT_NAMES = {"progress.txt", "log.tsv", "progress.tsv"}
MOST_LEVELS = 12
"""Folders within folders that are looked into."""


@dataclass(frozen=True)
class Place:
    """A folder (or a file that was named) and the files in it that hold series."""

    path: Path
    events: tuple[Path, ...] = ()
    tables: tuple[Path, ...] = ()
    """Tables, JSON and evaluations."""

    @property
    def named(self) -> bool:
        """Whether this is a file that the user named."""
        return (self.path,) in (self.events, self.tables)


def places(path: Path, problems: list[str]) -> list[Place]:
    """Every folder at or below a path that holds series; links that lead back are not followed.

    Folders that cannot be read are added to ``problems``.

    Raises:
        OSError: the path itself cannot be looked at.
    """
    if not path.exists():
        return []
    if path.is_file():
        return [Place(path, (path,), ()) if is_event_file(path) else Place(path, (), (path,))]
    return _below(path, problems, set(), 0)


def _below(path: Path, problems: list[str], seen: set[Path], level: int) -> list[Place]:
    place = path.resolve()
    if place in seen or level > MOST_LEVELS:
        return []
    seen.add(place)
    try:
        entries = sorted(path.iterdir())
        events = tuple(p for p in entries if is_event_file(p) and p.is_file())
        tables = tuple(p for p in entries if not is_event_file(p) and is_table(p) and p.is_file())
        if _is_run_directory(path, bool(events or tables)):
            inner = tuple(sorted(p for p in (path / "tb").rglob("*") if is_event_file(p) and p.is_file()))
            return [Place(path, inner or events, () if inner or events else tables)]
    except OSError as error:
        problems.append(f"{path}: {error.strerror or error}")
        return []
    out = [Place(path, events, tables)] if events or tables else []
    for child in entries:
        if child.name.startswith(".") or not child.is_dir():
            continue
        if events and _HPARAMS.fullmatch(child.name):
            continue  # add_hparams puts a folder named after the time beside the run's own file
        out += _below(child, problems, seen, level + 1)
    return out


def _is_run_directory(path: Path, some: bool) -> bool:
    return any((path / name).is_file() for name in _RUN_FILES) and (some or (path / "tb").is_dir())


def is_table(path: Path) -> bool:
    """Whether a file in a folder is taken for a table by its name, a text by its first lines.

    A file that the user names is always tried.
    """
    name = plain_name(path).lower()
    if name == "index.csv":
        return False  # our own export carries an index of the series beside them; it holds no points
    if name.endswith((".txt", ".log", ".dat")) and name not in _TEXT_NAMES:
        return looks_like_table(path)
    return (
        name.endswith((".csv", ".tsv", ".jsonl"))
        or name in _JSON_NAMES
        or name in _TEXT_NAMES
        or name == "evaluations.npz"
        or (name.endswith(".json") and download_of(path) is not None)
    )
