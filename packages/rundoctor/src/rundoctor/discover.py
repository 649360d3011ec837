"""Where runs are: the files below a path that hold series, folder by folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .readers import is_event_file
from .readers.array import looks_like_curve
from .readers.filenames import download_of
from .readers.printed import looks_printed
from .readers.records import looks_like_records
from .readers.source import plain_name
from .readers.text import looks_like_mlflow, looks_like_table
from .signals import EVALUATION_WORDS

_HPARAMS = re.compile(r"\d{9,11}\.\d+")
_RUN_FILES = ("config.yaml", "provenance.json", "status.json")
_JSON_NAMES = {"result.json", "progress.json", "metrics.json", "log.json", "train.json", "eval.json"}
_LOG_WORDS = {
    *("log", "logs", "metrics", "progress", "result", "results", "history", "scores", "rewards", "returns"),
    *("train", "training", "eval", "evaluation", "test", "stats", "losses", "episodes"),
}
"""Words in the names of JSON files that may hold series, and are looked into."""
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
    evaluations: frozenset[Path] = frozenset()
    """Those of the files that lie in a folder for evaluations beside the one for training."""
    renamed: Mapping[Path, str] = field(default_factory=dict)
    """Event files of ``add_scalars``, each in a folder of its own, and the tag of what they hold."""

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
    return _with_siblings(_below(path, problems, set(), 0))


_FILLERS = {"tb", "tensorboard", "log", "logs", "summary", "summaries", "events", "writer", "env", "metrics"}
_LOOSE = {"test", "testing", "val", "valid"}
"""Names of folders that, beside loose files, are more likely those of another run."""


def folder_role(name: str) -> str:
    """``train``, ``eval``, ``actor`` or ``learner`` where a folder's name says no more than that; else empty.

    Acme's actor logs the episodes of training, its learner the losses.
    """
    words = [w for w in re.split(r"[_.\-\s]+", name.lower()) if w and w not in _FILLERS]
    if len(words) != 1:
        return ""
    if words[0] in ("train", "training"):
        return "train"
    if words[0] in ("actor", "learner"):
        return words[0]
    return "eval" if words[0] in EVALUATION_WORDS else ""


def _with_siblings(found: list[Place]) -> list[Place]:
    """Join folders ``train`` and ``eval`` of one parent, or ``eval`` and its parent: they are one run."""
    by_path = {p.path: p for p in found}
    for parent in dict.fromkeys(p.path.parent for p in found):
        children = [p for p in by_path.values() if p.path.parent == parent and p.path != parent]
        own = by_path.get(parent)
        trains = [c for c in children if folder_role(c.path.name) in ("train", "actor")]
        evals = [c for c in children if folder_role(c.path.name) == "eval"]
        learners = [c for c in children if folder_role(c.path.name) == "learner"] if trains else []
        if own is not None and not trains:
            evals = [c for c in evals if not _LOOSE & set(re.split(r"[_.\-\s]+", c.path.name.lower()))]
        main = [own, *trains] if own is not None else trains
        if len(trains) > 1 or len(learners) > 1 or not main or not (evals or learners):
            continue
        files = [*main, *learners, *evals]
        joined = Place(
            parent,
            tuple(f for p in files for f in p.events),
            tuple(f for p in files for f in p.tables),
            frozenset(f for p in evals for f in (*p.events, *p.tables)),
        )
        place_of_first = next(iter(by_path[p.path].path for p in files))
        by_path = {
            (parent if path == place_of_first else path): (joined if path == place_of_first else place)
            for path, place in by_path.items()
            if path == place_of_first or all(path != p.path for p in files)
        }
    return list(by_path.values())


def with_scalars(parent: Place, files: Mapping[Path, str]) -> Place:
    """A place with the event files that ``add_scalars`` put into folders below it."""
    return replace(parent, events=(*parent.events, *files), renamed={**parent.renamed, **files})


def _below(path: Path, problems: list[str], seen: set[Path], level: int) -> list[Place]:
    place = path.resolve()
    if place in seen or level > MOST_LEVELS:
        return []
    seen.add(place)
    try:
        entries = sorted(path.iterdir())
        events = tuple(p for p in entries if is_event_file(p) and p.is_file())
        tables = tuple(p for p in entries if not is_event_file(p) and is_table(p) and p.is_file())
        if events:  # beside a log with names, an array without any adds nothing that can be judged
            tables = tuple(p for p in tables if not p.name.lower().endswith(".npy"))
        if _is_run_directory(path, bool(events or tables)):
            inner = tuple(sorted(p for p in (path / "tb").rglob("*") if is_event_file(p) and p.is_file()))
            return [Place(path, inner or events, () if inner or events else tables)]
    except OSError as error:
        problems.append(f"{path}: {error.strerror or error}")
        return []
    out = [Place(path, events, tables)] if events or tables else []
    for child in entries:
        hidden = child.name.startswith(".") and child.name != ".summary"  # Sample-Factory's event files
        if hidden or not child.is_dir():
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
    if name.endswith((".txt", ".log", ".dat", ".out")) and name not in _TEXT_NAMES:
        return looks_like_table(path) or looks_printed(path)
    return (
        name.endswith((".csv", ".tsv", ".jsonl"))
        or name in _JSON_NAMES
        or name in _TEXT_NAMES
        or name == "evaluations.npz"
        or (name.endswith(".npy") and looks_like_curve(path))
        or (name.endswith(".json") and download_of(path) is not None)
        or (
            name.endswith(".json")
            and _LOG_WORDS & set(re.split(r"[_.\-\s]+", name))
            and looks_like_records(path)
        )
        or (path.parent.name == "metrics" and not path.suffix and looks_like_mlflow(path))
    )
