"""Which plots a report has, as data; drawn by ``figures`` (PNG) and by ``html`` (plotly)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..measures import q_gap
from ..model import Finding, Report
from ..run import Run
from ..series import Series
from ..signals import Signal, actor, critic, episodes, evaluation, gradients
from ..stats import Floats

POINTS = 1500
"""Points of one line in a plot; a longer series is drawn as its mean within its extremes."""


@dataclass
class Curve:
    """One line of a plot; ``low`` and ``high`` where points were put together."""

    name: str
    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None


@dataclass
class Plot:
    """One plot: curves over a common x-axis, lines that mark limits and the onset."""

    title: str
    curves: list[Curve]
    xlabel: str
    log: bool = False
    limits: list[tuple[str, float]] = field(default_factory=list)
    onset: int | None = None


def curve(s: Series, name: str = "", points: int = POINTS) -> Curve:
    """A series thinned to what a screen can show, without losing its extremes."""
    n = len(s)
    if n <= points:
        if s.folded:
            return Curve(name or s.tag, s.step, s.value, s.low, s.high)
        return Curve(name or s.tag, s.step, s.value)
    edges = np.linspace(0, n, points // 2 + 1).astype(int)[:-1]
    counts = np.diff(np.append(edges, n))
    finite = np.where(np.isfinite(s.value), s.value, np.nan)
    known = np.maximum(np.add.reduceat(np.isfinite(finite).astype(float), edges), 1)
    mean = np.add.reduceat(np.nan_to_num(finite), edges) / known
    gone = np.add.reduceat(np.isfinite(finite).astype(float), edges) == 0
    mean[gone] = np.nan
    return Curve(
        name or s.tag,
        s.step[edges + counts - 1],
        mean,
        np.fmin.reduceat(s.low, edges),
        np.fmax.reduceat(s.high, edges),
    )


def wants_log(curves: Sequence[Curve], limits: Sequence[tuple[str, float]] = ()) -> bool:
    """A logarithmic axis where values span more than two decades and none is negative; zeros drop out."""
    values = np.concatenate([c.y[np.isfinite(c.y)] for c in curves] or [np.empty(0)])
    values = np.concatenate([values, [v for _, v in limits if v > 0]])
    positive = values[values > 0]
    if len(positive) < 3 or len(positive) < 0.2 * len(values) or (values < 0).any():
        return False
    return float(np.log10(positive.max() / max(float(np.percentile(positive, 2)), 1e-300))) > 2


def _xlabel(series: Sequence[Series]) -> str:
    return "episode" if series and all(s.axis == "episode" for s in series) else "environment step"


def plots_of(finding: Finding, run: Run) -> list[Plot]:
    """The plots that show a finding."""
    out = []
    if finding.id == "state-gradient-leak":
        ratio = _ratio_plot(run, finding)
        if ratio is not None:
            out.append(ratio)
    shown: list[list[Series]] = []
    for group in finding.plots:
        series = _different(s for s in (run.series.get(tag) for tag in group) if s is not None and len(s))
        if not series or any(_same(series, before) for before in shown):
            continue
        shown.append(series)
        curves = [_drawn(run, s) for s in series]
        limits = [b for b in finding.bounds if _near(b[1], curves)] if finding.bounds else []
        title = " and ".join(c.name for c in curves[:3])
        onset = finding.onset if all(s.axis == "step" for s in series) else None
        out.append(Plot(title, curves, _xlabel(series), wants_log(curves, limits), limits, onset))
    return out


def _different(series: Iterable[Series]) -> list[Series]:
    """Without those that hold the same points as one before: one line in a plot is enough."""
    out: list[Series] = []
    for s in series:
        if not any(s.equals(other) for other in out):
            out.append(s)
    return out


def _same(a: Sequence[Series], b: Sequence[Series]) -> bool:
    """Whether two plots would show the same lines."""
    return len(a) == len(b) and all(x.equals(y) for x, y in zip(a, b, strict=True))


def _drawn(run: Run, s: Series) -> Curve:
    """The actor's loss stands for minus Q(policy) where that was not logged: drawn as such."""
    policy = run.policy_q
    if run.policy_q_is_loss and policy is not None and s.tag == policy.tag:
        return curve(policy, f"Q(policy) = -{s.tag}")
    return curve(s)


def _near(value: float, curves: Sequence[Curve]) -> bool:
    """Whether a limit belongs in the plot: within a factor of a thousand of what is drawn."""
    top = max((float(np.nanmax(np.abs(c.y))) for c in curves if np.isfinite(c.y).any()), default=0.0)
    return top > 0 and 1e-3 < abs(value) / top < 1e3 if value else True


def _ratio_plot(run: Run, finding: Finding) -> Plot | None:
    gap = q_gap(run)
    if gap is None or len(gap.step) < 2:
        return None
    curves = [
        Curve("Q(policy), what the actor climbs", gap.step, gap.policy),
        Curve("Q(data), what the critic learned", gap.step, gap.data),
    ]
    limits = []
    bound = run.q_limit
    if bound is not None:
        limits.append((f"r_max/(1-gamma) = {bound[0]:,.0f}", bound[0]))
    return Plot(
        "Q of the policy leaves Q of the data",
        curves,
        "environment step",
        wants_log(curves),
        limits,
        finding.onset,
    )


OVERVIEW: tuple[tuple[str, tuple[Signal | None, ...]], ...] = (
    ("return of the episodes", (episodes.RETURN, evaluation.RETURN)),
    ("episode length", (episodes.LENGTH,)),
    ("Q of policy and data", (None, critic.Q1.mean)),
    ("critic loss", (critic.LOSS,)),
    (
        "gradient norms",
        (
            gradients.AFTER["actor_encoder"],
            gradients.AFTER["actor_head"],
            gradients.AFTER["critic_encoder"],
            gradients.AFTER["critic_head"],
        ),
    ),
    ("saturation, exploration", (actor.SATURATION, actor.NOISE)),
)
"""Title -> what is drawn; None stands for Q of the policy, which may be minus the actor's loss."""


def overview(run: Run) -> list[Plot]:
    """Six plots that every run is looked at by, as far as it has the series."""
    out = []
    for title, signals in OVERVIEW:
        curves: list[Curve] = []
        series: list[Series] = []
        for signal in signals:
            s = run.policy_q if signal is None else run.get(signal)
            if s is None or any(s.equals(other) for other in series):
                continue
            drawn = curve(s, "Q(policy)" if signal is None and run.policy_q_is_loss else "")
            if s.axis != "step":
                steps = run.env_steps(s)
                if np.isfinite(steps).all() and len(steps) == len(s):
                    moved = s.only(np.ones(len(s), bool))
                    moved.step = steps
                    drawn = curve(moved)
            curves.append(drawn)
            series.append(s)
        if curves:
            out.append(Plot(title, curves, "environment step", wants_log(curves)))
    return out


def first_onset(report: Report) -> int | None:
    """Where the leading finding begins: drawn into the overview."""
    return report.findings[0].onset if report.findings and report.severity else None


def tidy(value: float) -> float | None:
    """JSON knows neither NaN nor infinity."""
    return value if math.isfinite(value) else None
