"""What reading a file gives, and how files are opened."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..store import Point, Store

LEFT_OUT = frozenset({"config", "hist_stats", "info_config"})
"""Parts of RLlib's results that repeat the configuration or hold raw samples in every row."""


class ReadError(ValueError):
    """A file that holds no series; the message says why."""


@dataclass
class Source:
    """The points of one file, or of one of the runs that a file holds."""

    path: Path
    kind: str
    """events, csv, json, monitor, npz, npy or printed."""
    store: Store
    axis: str | None = None
    """What the x-axis counts; None for event files, of which it is worked out from the points."""
    label: str = ""
    """The run's name within the file; empty where the file holds one run."""
    notes: list[str] = field(default_factory=list)
    """What was damaged, dropped or put right while reading."""
    texts: dict[str, str] = field(default_factory=dict)
    """Text summaries, which may hold hyper-parameters, by tag."""
    axis_columns: tuple[str, ...] = ()
    """Columns that say where a row stands or when it was written, and are no series."""
    parallel: bool = False
    """Whether the file is one of several that the environments of one run wrote at the same time."""

    pauses: list[tuple[Point, Point]] = field(default_factory=list)
    """Last point before and first point after each place where another process went on writing the file."""

    def describe(self) -> dict[str, object]:
        """The entry of the run's list of files."""
        return {
            "path": str(self.path),
            "bytes": self.path.stat().st_size,
            "points": self.store.points,
            "kind": self.kind,
            **({"part": self.label} if self.label else {}),
        }


def plain_name(path: Path) -> str:
    """The file's name without ``.gz``."""
    return path.name[:-3] if path.name.lower().endswith(".gz") else path.name


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading, unpacking it where its name ends in ``.gz``.

    Raises:
        OSError: it cannot be opened.
    """
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]  # GzipFile reads like a BinaryIO
    return path.open("rb")
