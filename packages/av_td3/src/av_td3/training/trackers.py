"""Weights & Biases and MLflow, for those who keep their runs there: ``train.loggers``.

TensorBoard's event files are written whether or not a tracker is; everything in this project reads those.  A
tracker gets the same rows.  Where it keeps them is its own affair: ``WANDB_MODE``, ``WANDB_PROJECT`` and
``MLFLOW_TRACKING_URI`` say so, as everywhere.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from av_td3.config import Config, ConfigError, TrackerName, flat
from av_td3.training.run_directory import RunDirectory, RunError, write_atomically

PROJECT = "av-td3"
"""The project of W&B and the experiment of MLflow, unless the environment names another."""
MODULES: dict[TrackerName, str] = {"wandb": "wandb", "mlflow": "mlflow"}


def check_installed(config: Config) -> None:
    """Whether the packages of ``train.loggers`` are there; nothing is imported.

    Raises:
        ConfigError: one is not.
    """
    for name in config.train.loggers:
        if importlib.util.find_spec(MODULES[name]) is None:
            raise ConfigError(
                f"train.loggers names {name}, which is not installed: pip install "
                f"'./packages/av_td3[{name}]' in the repository's folder, or leave it out"
            )


class Tracker(Protocol):
    """One system that gets the figures of one run."""

    identity: str
    """Under which it knows the run."""

    def log(self, step: int, row: Mapping[str, float]) -> None: ...

    def close(self, ending: str) -> None: ...


class WandbTracker:
    """Weights & Biases; ``WANDB_MODE=offline`` writes into ``wandb/``, for ``wandb sync``."""

    def __init__(self, config: Config, run: RunDirectory, identity: str | None) -> None:
        """``identity``: of the run, where it goes on."""
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.path.name,
            id=identity,
            resume="allow" if identity else None,
            config=config.model_dump(mode="json"),
            # The terminal is ours, and what the machine does is among the figures already.
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True),
        )
        self.identity: str = self._run.id
        # Rows are by environment step, also after a resume that went back.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, row: Mapping[str, float]) -> None:
        self._run.log({**row, "step": step})

    def close(self, ending: str) -> None:
        self._run.finish(exit_code=int(ending == "failed"))


class MlflowTracker:
    """MLflow; without ``MLFLOW_TRACKING_URI`` the files lie in ``mlruns/`` of the working directory."""

    STATUS = {"finished": "FINISHED", "interrupted": "KILLED"}
    PARAMS_AT_ONCE, PARAM_LENGTH = 100, 500

    def __init__(self, config: Config, run: RunDirectory, identity: str | None) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:  # a folder of files needs no database and no server
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            uri = Path("mlruns").absolute().as_uri()
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric: Callable[..., Any] = Metric
        self._client = MlflowClient(tracking_uri=uri)
        if identity is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            experiment = self._client.get_experiment_by_name(name)
            number = experiment.experiment_id if experiment else self._client.create_experiment(name)
            identity = self._client.create_run(number, run_name=run.path.name).info.run_id
            settings = flat(config.model_dump(mode="json")).items()
            params = [Param(key, str(value)[: self.PARAM_LENGTH]) for key, value in settings]
            for first in range(0, len(params), self.PARAMS_AT_ONCE):
                self._client.log_batch(identity, params=params[first : first + self.PARAMS_AT_ONCE])
        else:
            self._client.set_terminated(identity, "RUNNING")
        self.identity: str = identity

    def log(self, step: int, row: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metrics = [self._metric(tag, float(value), now, step) for tag, value in row.items()]
        self._client.log_batch(self.identity, metrics=metrics)

    def close(self, ending: str) -> None:
        self._client.set_terminated(self.identity, self.STATUS.get(ending, "FAILED"))


KINDS: dict[TrackerName, Callable[[Config, RunDirectory, str | None], Tracker]] = {
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
}


class Trackers:
    """All trackers of a run.  One that fails costs its figures, not the training; context manager."""

    FILE = "trackers.json"
    """In the run directory: under which identity each tracker knows the run."""

    def __init__(self, config: Config, run: RunDirectory, tell: Callable[[str], None]) -> None:
        """Open those of ``train.loggers``; ``tell`` takes a line for the user.

        Raises:
            RunError: one cannot be opened: no account, no network, no such server.
        """
        self._tell, self.ending = tell, "failed"
        self._open: dict[TrackerName, Tracker] = {}
        file = run.path / self.FILE
        try:
            known: dict[str, str] = json.loads(file.read_text())
        except (OSError, ValueError):
            known = {}
        for name in config.train.loggers:
            try:
                tracker = KINDS[name](config, run, known.get(name))
            except Exception as error:  # of a library, and of whatever it talks to
                self.__exit__()
                hint = "; WANDB_MODE=offline writes files instead" if name == "wandb" else ""
                raise RunError(f"train.loggers: {name} cannot begin: {error}{hint}") from error
            self._open[name] = tracker
            known[name] = tracker.identity
        if self._open:
            write_atomically(file, json.dumps(known))

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        for tracker in self._open.values():
            with contextlib.suppress(Exception):
                tracker.close(self.ending)
        self._open = {}

    def log(self, step: int, row: Mapping[str, float]) -> None:
        """A row of scalars by tag."""
        for name, tracker in list(self._open.items()):
            try:
                tracker.log(step, row)
            except Exception as error:
                del self._open[name]
                self._tell(f"warning: {name} gets no more figures of this run: {error}")
