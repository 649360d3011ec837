"""Gates: a run earns its next stage.

500, 1K, 2K, 5K, 10K and on to 1M steps; each stage continues the last, and ends with the
criteria of ``gates.yaml`` on the run's own event files.  A million steps are days; a run
that is wrong shows it within the first thousands.
"""

from __future__ import annotations

import fnmatch
import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from av_td3.config import Config, ConfigError
from av_td3.training.run_directory import RunDirectory, write_atomically

Series = tuple[NDArray[np.float64], NDArray[np.float64]]  # steps, values
REQUIRED_FOR_LONG_RUNS = 10_000
LONG_RUN = 1_000_000


class Criterion(BaseModel):
    """One line of ``gates.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    tag: str
    except_: tuple[str, ...] = Field(default=(), alias="except")
    """Parts of tags that a * in ``tag`` shall not stand for."""
    figure: Literal["last", "mean", "max", "trend", "relative_trend"]
    most: str | float | None = None
    least: str | float | None = None
    since: int = Field(default=0, alias="from")
    until: int | None = Field(default=None, alias="to")
    """The criterion applies to stages of at least, and at most, so many steps."""


class Gates(BaseModel):
    """``gates.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stages: tuple[int, ...]
    window: float = Field(gt=0, le=1)
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True)
class Check:
    """A criterion's outcome at a stage."""

    name: str
    tag: str
    value: float | None
    limit: str
    passed: bool


@dataclass(frozen=True)
class Stage:
    """All criteria at the end of a stage."""

    steps: int
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def load_gates(path: Path | None = None) -> Gates:
    """The bundled gates, or a user's.

    Raises:
        ConfigError: unreadable or not of the documented form.
    """
    try:
        text = path.read_text() if path else (resources.files("av_td3.training") / "gates.yaml").read_text()
        gates = Gates.model_validate(yaml.safe_load(text))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"cannot use the gates {path or 'gates.yaml'}: {error}") from None
    if list(gates.stages) != sorted(set(gates.stages)) or not gates.stages or gates.stages[0] < 1:
        raise ConfigError("the stages of the gates must rise")
    for criterion in gates.criteria:
        if (criterion.most is None) == (criterion.least is None):
            raise ConfigError(f"gate {criterion.name!r}: give either most or least")
        _limit(criterion, 1.0)
    return gates


def judge(gates: Gates, steps: int, previous: int, series: dict[str, Series], bound: float) -> Stage:
    """Judge the end of the stage that led from ``previous`` to ``steps`` steps.

    ``bound`` is the largest absolute return that the reward allows.
    """
    checks = []
    for criterion in gates.criteria:
        if steps < criterion.since or (criterion.until is not None and steps > criterion.until):
            continue
        limit = _limit(criterion, bound)
        comparison = f"{'<=' if criterion.most is not None else '>='} {limit:.4g}"
        tags = [
            tag
            for tag in fnmatch.filter(series, criterion.tag)
            if not any(part in tag for part in criterion.except_)
        ]
        figures = [_figure(criterion, series[tag], steps, previous, gates.window) for tag in tags]
        known = [f for f in figures if f is not None]
        if not known:
            # Nothing to judge is a failure only where the run must have logged it by now.
            missing_is_fine = not criterion.tag.startswith(("alerts/", "eval/")) and steps <= 1000
            checks.append(Check(criterion.name, criterion.tag, None, comparison, missing_is_fine))
            continue
        value = max(known) if criterion.most is not None else min(known)
        passed = value <= limit if criterion.most is not None else value >= limit
        checks.append(Check(criterion.name, criterion.tag, float(value), comparison, bool(passed)))
    return Stage(steps, tuple(checks))


def read_series(run: RunDirectory) -> dict[str, Series]:
    """Every scalar of the run's event files, the last value written for a step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    series = {}
    for tag in accumulator.Tags()["scalars"]:
        latest = {event.step: event.value for event in accumulator.Scalars(tag)}
        steps = np.array(sorted(latest), np.float64)
        series[tag] = (steps, np.array([latest[int(s)] for s in steps], np.float64))
    return series


def recorded(run: RunDirectory) -> list[Stage]:
    """The stages that ``gates.json`` says this run has been through; none where there is no such file.

    Raises:
        ConfigError: the file is damaged.
    """
    file = run.path / "gates.json"
    if not file.exists():
        return []
    try:
        return [
            Stage(stage["steps"], tuple(Check(**check) for check in stage["checks"]))
            for stage in json.loads(file.read_text())
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"cannot use {file}: {error}") from None


def record(run: RunDirectory, stages: list[Stage]) -> None:
    """Write ``gates.json`` into the run directory."""
    document = [{**asdict(stage), "passed": stage.passed} for stage in stages]
    write_atomically(run.path / "gates.json", json.dumps(document, indent=1))


def earned(run: RunDirectory, config: Config) -> str | None:
    """None when this run has passed the gate that a long run with ``config`` needs; else why not."""
    try:
        stages = json.loads((run.path / "gates.json").read_text())
        passed = {stage["steps"] for stage in stages if stage["passed"]}
        failed = {stage["steps"] for stage in stages if not stage["passed"]}
    except (OSError, ValueError, KeyError, TypeError):
        return f"{run.path} has no gates.json: run av-td3 validate first"
    if failed or not any(steps >= REQUIRED_FOR_LONG_RUNS for steps in passed):
        return f"{run.path} did not pass the gate at {REQUIRED_FOR_LONG_RUNS:,} steps"
    theirs = run.config()
    for section in ("env", "agent", "exploration", "replay"):
        if getattr(theirs, section) != getattr(config, section):
            return f"{run.path} was validated with other settings in section {section!r}"
    return None


def _limit(criterion: Criterion, bound: float) -> float:
    """``most`` or ``least`` as a number: 3, "bound", "2 bound"."""
    value = criterion.most if criterion.most is not None else criterion.least
    try:
        if isinstance(value, str) and value.endswith("bound"):
            factor = value.removesuffix("bound").strip()
            return (float(factor) if factor else 1.0) * bound
        return float(value)  # type: ignore[arg-type]
    except ValueError:
        raise ConfigError(f"gate {criterion.name!r}: {value!r} is neither a number nor '<n> bound'") from None


def _figure(criterion: Criterion, series: Series, steps: int, previous: int, window: float) -> float | None:
    at, values = series
    if criterion.figure in ("trend", "relative_trend"):
        inside = values[(at > previous) & (at <= steps)]
        third = len(inside) // 3
        if third < 1:
            return None
        first, last = float(np.median(inside[:third])), float(np.median(inside[-third:]))
        return (last - first) / (max(abs(first), 1e-9) if criterion.figure == "relative_trend" else 1.0)
    if criterion.figure == "last":
        until_now = values[at <= steps]
        return float(until_now[-1]) if len(until_now) else None
    inside = values[(at > steps * (1 - window)) & (at <= steps)]
    if len(inside) == 0:
        return None
    return float(inside.max() if criterion.figure == "max" else inside.mean())
