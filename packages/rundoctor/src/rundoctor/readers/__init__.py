"""From files to series: TensorBoard events, tables, JSON, evaluations."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

from ..store import BUDGET
from .array import read_array
from .evaluations import read_evaluations
from .events import read_event_source
from .printed import looks_printed, read_printed
from .records import read_records
from .source import ReadError, Source, open_binary, plain_name
from .steps import summed
from .table import read_table

__all__ = ["ReadError", "Source", "is_event_file", "read_file"]

_EVENT = "tfevents"


def is_event_file(path: Path) -> bool:
    """Whether a file is named as TensorBoard names event files."""
    return _EVENT in path.name


def read_file(path: Path, budget: int = BUDGET, names: Mapping[str, str] | None = None) -> list[Source]:
    """Read a file of any kind: by its name if that says it, else by what it holds.

    Args:
        budget: points held in memory for each run.
        names: what the user says that columns are (``--map``).

    Returns:
        a source for each run that the file holds; at least one.

    Raises:
        ReadError: it holds no series; the message says why.
        OSError: it cannot be read.
    """
    if path.stat().st_size == 0:
        raise ReadError("the file is empty")
    if is_event_file(path):
        return [read_event_source(path, budget)]
    name = plain_name(path).lower()
    if name.endswith(".npz"):
        return [read_evaluations(path, budget)]
    if name.endswith(".npy"):
        return [read_array(path, budget)]
    try:
        with open_binary(path) as file:
            start = file.read(4096)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ReadError(f"not a file that can be unpacked: {error}") from None
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return [summed(source, names or {}) for source in read_records(path, budget, names)]
    if not name.endswith((".csv", ".tsv")) and looks_printed(path):
        return [read_printed(path, budget)]
    if not name.endswith((".csv", ".tsv", ".txt")):
        try:
            return [read_event_source(path, budget)]
        except ReadError:
            pass
    return [summed(source, names or {}) for source in read_table(path, budget, names)]
