"""Gates: a run must pass each stage before the next one begins.

The stages end at 500, 1,000, 2,000, 5,000 and 10,000 steps, and on to a million.  Each continues the last one
and ends with the criteria of ``gates.yaml``, judged on the run's own event files.  A million steps take
days; a run that is wrong shows it within the first thousands.
"""

from __future__ import annotations

import fnmatch
import json
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from av_td3.config import Config, ConfigError, differences
from av_td3.training.run_directory import RunDirectory, write_atomically
from rundoctor.signals import OWN, alerts, evaluation
from rundoctor.signals.conditions import BY_ID

Series = tuple[NDArray[np.float64], NDArray[np.float64]]  # steps, values
REQUIRED_FOR_LONG_RUNS = 10_000
LONG_RUN = 1_000_000
MAY_BE_MISSING = 1_000
"""Steps up to which a figure need not be there: learning begins about then."""
_ALWAYS_THERE = (alerts.PREFIX, evaluation.PREFIX)
"""Prefixes of tags that must be there at every stage."""


class Criterion(BaseModel):
    """One line of ``gates.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    judges: str | None = None
    """Id of a condition of :mod:`rundoctor.signals`; ``most`` or ``least`` may name one of its thresholds."""
    tag: str
    except_: tuple[str, ...] = Field(default=(), alias="except")
    """Parts of tags that a * in ``tag`` shall not stand for."""
    figure: Literal["last", "mean", "max", "ever", "trend", "relative_trend"]
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
    criteria: tuple[Criterion, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Check:
    """A criterion's outcome at a stage."""

    name: str
    tag: str
    value: float | None
    limit: str
    passed: bool
    note: str = ""
    """Why there is no value."""


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
        gates = gates.model_copy(update={"criteria": tuple(map(_resolved, gates.criteria))})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"cannot use the gates {path or 'gates.yaml'}: {error}") from None
    if list(gates.stages) != sorted(set(gates.stages)) or not gates.stages or gates.stages[0] < 1:
        raise ConfigError("the stages of the gates must rise")
    for criterion in gates.criteria:
        _limit(criterion, 1.0)
    return gates


def _resolved(criterion: Criterion) -> Criterion:
    """With figures in place of names of thresholds.

    Raises:
        ConfigError: no such condition or threshold; a tag that no run logs.
    """
    where = f"gate {criterion.name!r}"
    if (criterion.most is None) == (criterion.least is None):
        raise ConfigError(f"{where}: give either most or least")
    if not fnmatch.filter(_LOGGED, criterion.tag):
        near = get_close_matches(criterion.tag, _LOGGED, 1)
        hint = f"; did you mean {near[0]}?" if near else "; docs/metrics.md lists the tags"
        raise ConfigError(f"{where}: no run logs a tag {criterion.tag!r}{hint}")
    if criterion.judges is None:
        return criterion
    condition = BY_ID.get(criterion.judges)
    if condition is None:
        raise ConfigError(f"{where}: {criterion.judges!r} is no condition; there are {', '.join(BY_ID)}")
    side = "most" if criterion.most is not None else "least"
    wanted = criterion.most if side == "most" else criterion.least
    if not isinstance(wanted, str) or wanted.endswith("bound"):
        return criterion
    thresholds = condition.thresholds
    name = wanted.removeprefix("-")
    if name not in thresholds:
        known = ", ".join(thresholds)
        raise ConfigError(
            f"{where}: {condition.id} has no threshold {name!r}; give a number or one of {known}"
        )
    figure = -thresholds[name] if wanted.startswith("-") else thresholds[name]
    in_bounds = condition.unit == "q_bound" and name in ("warning", "critical")
    return criterion.model_copy(update={side: f"{figure:g} bound" if in_bounds else figure})


def _logged() -> list[str]:
    """Every tag that av-td3 logs; those with a placeholder once for each thing that it stands for."""
    return [tag for s in OWN for tag in (*map(s.of, s.choices or ("",)), *s.also)]


_LOGGED = _logged()


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
            # A trend takes three rows: a stage of a few long episodes has none to fail by.
            few = any(_inside(series[tag], previous, steps) for tag in tags)
            # Nothing to judge is a failure only where the run must have logged it by now.
            early = not criterion.tag.startswith(_ALWAYS_THERE) and steps <= MAY_BE_MISSING
            note = "too few rows" if few else "not logged"
            checks.append(Check(criterion.name, criterion.tag, None, comparison, few or early, note))
            continue
        value = np.max(known) if criterion.most is not None else np.min(known)  # NaN stays NaN, and fails
        passed = value <= limit if criterion.most is not None else value >= limit
        checks.append(Check(criterion.name, criterion.tag, float(value), comparison, bool(passed)))
    return Stage(steps, tuple(checks))


def judge_again(gates: Gates, steps: int, series: dict[str, Series], bound: float) -> list[Stage]:
    """Judge what was trained up to ``steps`` steps by other gates: each of their stages, up to the first that
    is not passed."""
    stages: list[Stage] = []
    previous = 0
    for end in [s for s in gates.stages if s < steps] + [steps]:
        stages.append(judge(gates, end, previous, series, bound))
        if not stages[-1].passed:
            break
        previous = end
    return stages


def unfinished(stage: Stage, step: int, reason: str) -> Stage:
    """A stage that training did not get to the end of: failed, whatever its figures say."""
    check = Check("training got to the end of the stage", "step", step, f">= {stage.steps}", False, reason)
    return Stage(stage.steps, (check, *stage.checks))


def check_judgeable(gates: Gates, config: Config, until: int) -> None:
    """Gates can be passed only by a run that learns before the first of them that asks for it.

    Raises:
        ConfigError: nothing is logged so early, or learning starts too late; the message says what to change.
    """
    if until < config.train.log_interval:
        raise ConfigError(
            f"--until {until}: there is nothing to judge before step {config.train.log_interval}, the first "
            "that is logged (train.log_interval)"
        )
    asking = [steps for steps in (*gates.stages, until) if MAY_BE_MISSING < steps <= until]
    train = config.train
    learns = train.learning_starts + config.agent.critic_warmup / train.updates_per_step + train.log_interval
    if asking and learns > min(asking):
        raise ConfigError(
            f"the policy's first update comes at step {learns:,.0f} (train.learning_starts "
            f"{train.learning_starts:,}), after the gate at {min(asking):,} steps that judges it: "
            "give --set train.learning_starts=1000 --set exploration.warmup_steps=1000, here and to the "
            "run that is to be earned"
        )


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


def record(run: RunDirectory, stages: list[Stage], gates: Gates) -> None:
    """Write ``gates.json``, and beside it the criteria, into the run directory."""
    write_atomically(run.path / "gates.yaml", yaml.safe_dump(_plain(gates), sort_keys=False))
    document = [{**asdict(stage), "passed": stage.passed} for stage in stages]
    write_atomically(run.path / "gates.json", json.dumps(document, indent=1))


def kept(run: RunDirectory) -> Gates | None:
    """The criteria that a validation goes by; None where it does not say.

    Raises:
        ConfigError: the file is damaged.
    """
    file = run.path / "gates.yaml"
    return load_gates(file) if file.exists() else None


def alike(one: Gates, other: Gates) -> bool:
    """Whether two files of gates judge alike."""
    return _plain(one) == _plain(other)


def own_criteria(run: RunDirectory) -> bool:
    """Whether a validation went by other criteria than the bundled ones."""
    theirs = kept(run)
    return theirs is not None and not alike(theirs, load_gates())


def _plain(gates: Gates) -> dict[str, Any]:
    return gates.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def earned(run: RunDirectory, config: Config) -> str | None:
    """None when this run has passed the gate that a long run with ``config`` needs; else why not."""
    try:
        stages = json.loads((run.path / "gates.json").read_text())
        passed = {stage["steps"] for stage in stages if stage["passed"]}
        failed = {stage["steps"] for stage in stages if not stage["passed"]}
    except (OSError, ValueError, KeyError, TypeError):
        return f"{run.path} has no gates.json, so it is no finished validation"
    if failed or not any(steps >= REQUIRED_FOR_LONG_RUNS for steps in passed):
        return f"{run.path} did not pass the gate at {REQUIRED_FOR_LONG_RUNS:,} steps"
    other = [
        f"{key} ({there} there, {here} here)"
        for key, (there, here) in differences(run.config(), config).items()
        if key.startswith(_DECIDING)
    ]
    if other:
        return f"{run.path} was validated with other settings: {', '.join(other[:3])}"
    return None


_DECIDING = (
    *("env.", "agent.", "exploration.", "replay."),
    *("train.maps", "train.updates_per_step", "train.learning_starts"),
)
"""What the keys begin with that decide how an agent learns: a validation holds for these values alone."""


def _limit(criterion: Criterion, bound: float) -> float:
    """``most`` or ``least`` as a number: 3, "bound" or "2 bound", the bound being that of Q."""
    value = criterion.most if criterion.most is not None else criterion.least
    try:
        if isinstance(value, str) and value.endswith("bound"):
            factor = value.removesuffix("bound").strip()
            return (float(factor) if factor else 1.0) * bound
        assert value is not None, "a criterion has one of the two"
        return float(value)
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
    since = previous if criterion.figure == "ever" else steps * (1 - window)
    inside = values[(at > since) & (at <= steps)]
    if len(inside) == 0:
        # One episode may be longer than the window: then the last that ended in this stage counts.
        inside = values[(at > previous) & (at <= steps)][-1:]
    if len(inside) == 0:
        return None
    return float(inside.mean() if criterion.figure == "mean" else inside.max())


def _inside(series: Series, previous: int, steps: int) -> bool:
    at, _ = series
    return bool(((at > previous) & (at <= steps)).any())
