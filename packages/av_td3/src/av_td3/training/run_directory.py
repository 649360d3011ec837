"""The directory of a run: what lies where, and the files that say how the run is doing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from av_td3.config import Config, ConfigError, config_from_dict
from av_td3.training import event_files


class RunError(RuntimeError):
    """The run directory cannot be used; the message says what to do."""


class RunDirectory:
    """Paths and small files of one run.

    ``config.yaml``, ``provenance.json``, ``status.json``, ``tb/``, ``checkpoints/``,
    ``policies/``, ``evaluations/``, ``videos/``, ``logs/`` (with ``incidents.jsonl``), ``alerts.jsonl``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensorboard = path / "tb"
        self.checkpoints = path / "checkpoints"
        self.policies = path / "policies"
        self.evaluations = path / "evaluations"
        self.videos = path / "videos"
        self.logs = path / "logs"
        self.alerts = path / "alerts.jsonl"

    @classmethod
    def create(cls, path: Path, config: Config, provenance: Mapping[str, Any]) -> RunDirectory:
        """Make the folder of a new run.

        Raises:
            RunError: the path exists and is not empty, or cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                hint = f", or go on with --resume {path}" if cls.is_run(path) else ": it holds no run"
                raise RunError(f"{path} is not empty: choose another --run-dir{hint}")
            run = cls(path)
            for folder in (run.tensorboard, run.checkpoints, run.evaluations, run.videos, run.logs):
                folder.mkdir()
            # The configuration comes last, and whole: with it the folder is a run.
            write_atomically(path / "provenance.json", json.dumps(provenance, indent=1))
            write_atomically(path / "config.yaml", config.to_yaml())
        except OSError as error:
            raise RunError(f"cannot create the run directory {path}: {error}") from None
        return run

    @staticmethod
    def is_run(path: Path) -> bool:
        """Whether this folder holds a run."""
        return (path / "config.yaml").is_file()

    @classmethod
    def is_half_made(cls, path: Path) -> bool:
        """Whether this is what :meth:`create` leaves where it is killed or the disk is full."""
        if cls.is_run(path) or not path.is_dir():
            return False
        files = {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()}
        folders = {file.name for file in path.rglob("*") if file.is_dir()}
        return folders <= {"tb", "checkpoints", "evaluations", "videos", "logs"} and files <= {
            *("provenance.json", ".provenance.json.tmp", ".config.yaml.tmp")
        }

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """The run that is in this folder.

        Raises:
            RunError: the folder holds no run.
        """
        if not cls.is_run(path):
            raise RunError(f"{path} is no run directory: there is no config.yaml in it")
        return cls(path)

    def config(self) -> Config:
        """The configuration of this run.

        Raises:
            RunError: unreadable, or of another version of this software.
        """
        try:
            tree = yaml.safe_load((self.path / "config.yaml").read_text())
            return config_from_dict(tree)
        except (OSError, yaml.YAMLError, ConfigError) as error:
            raise RunError(f"cannot use {self.path / 'config.yaml'}: {error}") from None

    def write_config(self, config: Config) -> None:
        """Replace ``config.yaml``: the run goes on with other settings."""
        write_atomically(self.path / "config.yaml", config.to_yaml())

    def set_final_aside(self) -> None:
        """Keep the final evaluation of a run that is trained further, under the step it was made at."""
        step = self.status().get("step", 0)
        for file in (*self.evaluations.glob("final*.*"), *self.videos.glob("final*.*")):
            file.rename(file.with_name(f"step_{step:09d}_{file.name}"))

    def drop_later(self, step: int, alerts: int | None, best: int | None) -> list[str]:
        """A run goes on from ``step``: remove what it has logged, measured and kept beyond it.

        Incidents stay: they tell of the machine, not of the learning.  Checkpoints beyond it, which could not
        be used, are renamed.

        Args:
            alerts: lines of ``alerts.jsonl`` that had been written by then; None where nobody knows.
            best: step of the best evaluation up to then.

        Returns:
            What there is to tell the user.

        Raises:
            RunError: a file cannot be changed.
        """
        from av_td3.training import checkpoint, policies  # torch: a run can be looked at without it

        try:
            event_files.drop_later(self.tensorboard, step)
            policies.drop_later(self.policies, step, best)
            for file in (*self.evaluations.glob("step_*.json"), *self.evaluations.glob("step_*.png")):
                number = file.stem.removeprefix("step_")
                if number.isdecimal() and int(number) > step:
                    file.unlink(missing_ok=True)
            if self.alerts.exists():
                lines = self.alerts.read_text().splitlines()[:alerts]
                kept = [line for line in lines if _step_of(line) <= step]
                write_atomically(self.alerts, "".join(f"{line}\n" for line in kept))
            return checkpoint.set_later_aside(self.checkpoints, step)
        except OSError as error:
            raise RunError(
                f"cannot remove from {self.path} what was logged after step {step}: {error}"
            ) from None

    def simulator_failures(self) -> tuple[int, float]:
        """How often a simulator has failed, and for how many seconds there was none; of the whole run."""
        lines: dict[str, list[str]] = {}
        for name in ("incidents", "recoveries"):
            try:
                lines[name] = (self.logs / f"{name}.jsonl").read_text().splitlines()
            except OSError:
                lines[name] = []
        seconds = 0.0
        for line in lines["recoveries"]:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                seconds += float(json.loads(line)["seconds"])
        return len(lines["incidents"]), seconds

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process: two that trained in one folder would ruin each other's files.

        The kernel releases the lock when its process ends, however it ends.

        Raises:
            RunError: another process holds it; the message names that process.
        """
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise RunError(
                    f"{self.path} is in use: process {file.read().strip() or 'of unknown id'} trains in it. "
                    "Wait until it has ended, or end it"
                ) from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def write_status(self, state: str, **fields: Any) -> None:
        """``status.json``: running, finished, interrupted or failed, and the figures that go with it."""
        who = {"pid": os.getpid(), "host": socket.gethostname()}  # rundoctor looks whether it still runs
        document = {"state": state, "time": time.time(), **who, **fields}
        try:
            write_atomically(self.path / "status.json", json.dumps(document, indent=1))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # a full disk must not end a training
                raise

    def status(self) -> dict[str, Any]:
        """``status.json``; empty where there is none that can be read."""
        try:
            status: dict[str, Any] = json.loads((self.path / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return status

    def code_sha256(self) -> str | None:
        """Hash of the code that runs, or ran last; None where it was not recorded."""
        try:
            document = json.loads((self.path / "provenance.json").read_text())
            recorded = [document, *document.get("resumed", [])][-1].get("code_sha256")
        except (OSError, ValueError, AttributeError):
            return None
        return recorded if isinstance(recorded, str) else None

    def injected_fault(self) -> str | None:
        """Id of the fault that was injected when the run was started; None for a sound run."""
        try:
            fault = json.loads((self.path / "provenance.json").read_text()).get("injected_fault")
        except (OSError, ValueError, AttributeError):
            return None
        return str(fault) if fault else None

    def append_provenance(self, provenance: Mapping[str, Any]) -> None:
        """Record with which code and packages the run goes on: they may differ from those it began with."""
        file = self.path / "provenance.json"
        try:
            document = json.loads(file.read_text())
        except (OSError, ValueError):
            document = {}
        document.setdefault("resumed", []).append(dict(provenance))
        write_atomically(file, json.dumps(document, indent=1))


def _step_of(line: str) -> float:
    """The step of an alert; infinite for a line that a killed process has left unfinished."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file as a whole: readers see the old or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def default_path(preset: str, seed: int, root: Path = Path("runs")) -> Path:
    """``runs/<preset>-s<seed>-<time>``."""
    return root / f"{preset}-s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
