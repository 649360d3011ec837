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


class IncidentLog:
    """The incidents of one environment, and how long it was away; each is also a line of a file.

    A disk that is full must not end a training, so nothing is raised when a line cannot be written.

    Args:
        folder: of ``incidents.jsonl``, ``recoveries.jsonl`` and ``renewals.jsonl``.
        env: says in each line which environment it was.
    """

    def __init__(self, folder: Path, env: str) -> None:
        self.folder, self._env = folder, env
        self.incidents: list[Incident] = []
        self.downtime_s = 0.0
        """Seconds between failures and the first observation after them, all together."""
        self._failed_at: float | None = None

    def add(self, incident: Incident) -> None:
        """Something went wrong, or a port had to be changed."""
        self.incidents.append(incident)
        self._write("incidents.jsonl", **asdict(incident))

    def failed(self) -> None:
        """The environment is away from now on, if it was not before."""
        if self._failed_at is None:
            self._failed_at = time.monotonic()

    def recovered(self) -> None:
        """There is an observation again."""
        if self._failed_at is None:
            return
        seconds = time.monotonic() - self._failed_at
        self._failed_at = None
        self.downtime_s += seconds
        self._write("recoveries.jsonl", seconds=round(seconds, 3))

    def renewed(self, why: str) -> None:
        """The server was replaced in good order."""
        self._write("renewals.jsonl", why=why)

    def _write(self, name: str, **fields: object) -> None:
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / name).open("a") as file:
                file.write(json.dumps({"time": _now(), "env": self._env, **fields}) + "\n")
