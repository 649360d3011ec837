"""Compare runs: figures, hyper-parameters, and what changed between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .evidence import everything
from .measures import q_gap
from .model import INFO, Report, lower_first, number
from .reference import published
from .rules import all_rules
from .run import Run
from .series import Series
from .signals import actor, critic, episodes, evaluation, gradients
from .stats import level


@dataclass(frozen=True)
class Row:
    """One quantity over all runs; None where a run does not have it."""

    name: str
    cells: tuple[float | str | None, ...]


@dataclass
class RunComparison:
    """Several runs in one table, and sentences about their differences."""

    names: list[str]
    rows: list[Row] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "runs": self.names,
            "rows": [{"name": r.name, "values": [_plain(c) for c in r.cells]} for r in self.rows],
            "sentences": self.sentences,
        }


def _plain(cell: float | str | None) -> float | str | None:
    return cell if isinstance(cell, str) or cell is None or math.isfinite(cell) else None


def compare(reports: Sequence[Report]) -> RunComparison:
    """Compare runs in the given order. The others are measured by the first."""
    runs = [r.run for r in reports]
    out = RunComparison([r.name for r in runs])

    def add(name: str, f: Callable[[Run], float | str | None]) -> None:
        cells = tuple(_clean(f(r)) for r in runs)
        if any(c is not None for c in cells):
            out.rows.append(Row(name, cells))

    add("steps", lambda r: float(r.last_step))
    add("steps/s", lambda r: r.steps_per_second)
    add("episodes", lambda r: float(r.episodes) if r.episodes else None)
    common = min(r.last_step for r in runs)
    add("return, last quarter", lambda r: _late(r.get(episodes.RETURN)))
    if len({r.last_step for r in runs}) > 1:
        add(f"return until {common:,}", lambda r: _late_until(r, r.get(episodes.RETURN), common))
    add("episode length, last quarter", lambda r: _late(r.get(episodes.LENGTH)))
    add("evaluation, last", lambda r: _last(r.get(evaluation.RETURN)))
    add("evaluation, best", lambda r: _best(r.get(evaluation.RETURN)))
    add("Q(policy), last", lambda r: _last(r.policy_q))
    add("Q(data), last", lambda r: _last(r.get(critic.Q1.mean, critic.TARGET.mean)))
    add("their gap / Q's scale", _gap)
    if len({r.last_step for r in runs}) > 1:
        add(f"Q(policy) at {common:,}", lambda r: _at(r.policy_q, common))
    add("critic loss, last quarter", lambda r: _late(r.get(critic.LOSS)))
    add("head gradient, last", lambda r: _last(r.get(gradients.AFTER["actor_head"])))
    add("saturation, last quarter", lambda r: _late(r.get(actor.SATURATION)))
    for i, ref in enumerate(reports[0].references):
        values = tuple(r.references[i].value for r in reports)
        if any(v is not None for v in values) and len(set(values)) > 1:
            out.rows.append(Row(ref.name, values))
    ids: dict[str, None] = {}
    for r in reports:
        for f in everything(r.findings):
            ids.setdefault(f.id)
    for id_ in ids:
        cells = tuple(
            next((str(f.severity) for f in everything(r.findings) if f.id == id_), None) for r in reports
        )
        if any(c not in (None, "info") for c in cells):
            out.rows.append(Row(id_, cells))
    out.rows.append(Row("verdict", tuple(r.word.lower() for r in reports)))
    out.sentences = _sentences(reports)
    return out


def _clean(value: float | str | None) -> float | str | None:
    return None if isinstance(value, float) and math.isnan(value) else value


def _late(s: Series | None) -> float | None:
    return level(s.tail(0.25, 1).value, s.value) if s is not None else None


def _last(s: Series | None) -> float | None:
    return float(s.value[-1]) if s is not None else None


def _best(s: Series | None) -> float | None:
    return s.highest.value if s is not None and s.highest is not None else None


def _at(s: Series | None, step: int) -> float | None:
    return float(s.at(np.array([float(step)]))[0]) if s is not None else None


def _late_until(run: Run, s: Series | None, step: int) -> float | None:
    """Level of the last quarter of the points up to a step that all runs reached."""
    if s is None:
        return None
    steps = run.env_steps(s)
    value = s.value[(steps <= step) & (steps > 0.75 * step)]
    return level(value, s.value)


def _gap(run: Run) -> float | None:
    gap = q_gap(run)
    return float(np.median(gap.ratio[-max(1, len(gap.ratio) // 4) :])) if gap is not None else None


def _title(finding_id: str) -> str:
    return lower_first({r.id: r.title for r in all_rules()}.get(finding_id, finding_id))


def _sentences(reports: Sequence[Report]) -> list[str]:
    out = []
    serious = [{f.id: f for f in everything(r.findings) if f.severity > INFO} for r in reports]
    everywhere = [i for i in serious[0] if all(i in s for s in serious)]
    if everywhere:
        lead = [i for i in everywhere if any(f.id == i for f in reports[0].findings)] or everywhere
        titles = ", ".join(_title(i) for i in lead[:5])
        out.append(f"In all {len(reports)} runs: {titles}.")
    if len(reports) == 2:
        a, b = reports
        gone = [serious[0][i] for i in serious[0] if i not in serious[1]]
        new = [serious[1][i] for i in serious[1] if i not in serious[0]]
        if gone:
            out.append(f"Only in {a.run.name}: {', '.join(_title(f.id) for f in gone)}.")
        if new:
            out.append(f"Only in {b.run.name}: {', '.join(_title(f.id) for f in new)}.")
        blind = [r.run.name for r in reports if r.cannot_judge]
        if blind:
            out.append(
                f"Nothing can be said about {' and '.join(blind)}: no signal of learning is recognised."
            )
        elif not gone and not new and not everywhere:
            out.append("Nothing wrong was found in either run.")
        out += _changed(a, b)
    out += _leak_speeds(reports)
    for r in reports:
        result = published(r.run)
        if result is not None:
            out.append(
                f"{r.run.name}: published after 1,000,000 steps on {result.environment}: TD3 paper "
                f"{result.td3_paper}, Stable-Baselines3 {result.sb3}."
            )
    return out


def _changed(a: Report, b: Report) -> list[str]:
    changed = [
        f"{x.name} {x.value:g} -> {y.value:g}"
        for x, y in zip(a.references, b.references, strict=True)
        if x.value is not None and y.value is not None and x.value != y.value
    ]
    return [f"What was changed from {a.run.name} to {b.run.name}: {', '.join(changed)}."] if changed else []


def _leak_speeds(reports: Sequence[Report]) -> list[str]:
    """A sentence on runs that all leak: what differs between them is not the cause of the leak."""
    leaking = [r for r in reports if any(f.id == "state-gradient-leak" for f in everything(r.findings))]
    if len(leaking) < 2:
        return []
    common = min(r.run.last_step for r in leaking)
    figures = []
    for r in leaking:
        q = r.run.policy_q
        if q is not None:
            figures.append(f"{number(float(q.at(np.array([float(common)]))[0]))} ({r.run.name})")
    return [
        f"The leak is in all of {len(leaking)}; what differs between them only sets its speed: at step "
        f"{common:,} Q(policy) is {', '.join(figures)}."
    ]
