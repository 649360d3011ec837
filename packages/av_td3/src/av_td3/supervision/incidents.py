"""What went wrong between the learner and its simulator, kept in memory and in ``incidents.jsonl``."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass(frozen=True)
class Incident:
    """One failure of the simulator or the worker, or a port that had to be changed."""

    during: str
    """``start``, ``reset`` or ``step``."""
    kind: str
    """``worker-died``, ``server-died``, ``deadline`` (no answer in time), ``error`` (reported by the
    worker) or ``port-taken``; of a worker on another machine ``host-died`` (the process that holds it, or
    its node) and ``host-silent`` (it does not answer)."""
    text: str
    action: str
    """What was done about it."""
    consecutive: int
    """How many failures there were in a row, this one included."""
    output: str = ""
    """The end of the failed process's log."""
    time: str = field(default_factory=_now)
    """UTC, ISO 8601."""


def append(incident: Incident, folder: Path, env: str) -> None:
    """Add a line to ``incidents.jsonl`` in the folder; ``env`` says which environment had the incident.

    A disk that is full must not end a training, so nothing is raised when it cannot be written.
    """
    note(folder, "incidents.jsonl", env=env, **asdict(incident))


def note(folder: Path, name: str, **fields: object) -> None:
    """Add a line to a file of JSON lines; nothing is raised when it cannot be written."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("a") as file:
            file.write(json.dumps({"time": _now(), **fields}) + "\n")
