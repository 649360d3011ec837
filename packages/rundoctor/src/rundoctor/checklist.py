"""The check-list of a run that may go on: each line passed, failed or not judged, with figures.

The criteria are those of the validation gates: Q within limits, no alert, critic learning,
return not falling, episodes not collapsing, evaluation present; and what makes them mean something.
"""

from __future__ import annotations

import math

import numpy as np

from .measures import is_alert, q_gap
from .model import ChecklistItem, Finding, Severity, number
from .run import Run
from .series import Series

Q_MEAN, Q_MAX = 50.0, 100.0
"""Limits of the validation gates where rewards are about 1; the reward bound takes over where it is known."""


def checklist(run: Run, findings: list[Finding]) -> list[ChecklistItem]:
    """Judge every line."""
    found = {f.id: f for f in _all(findings)}
    return [
        _finite(run, found),
        _state_path(run),
        _gap(run),
        _q_limits(run),
        _by_finding(
            run, found, "actor-saturated", "the actor is not saturated", ("saturation", "grad_actor_head")
        ),
        _by_finding(
            run,
            found,
            "clip-not-applied",
            "the gradient clip holds",
            ("grad_actor_encoder", "grad_critic_encoder"),
        ),
        _alerts(run, found),
        _falls(run, found, "critic_loss", "the critic's loss falls"),
        _falls(run, found, "td_error", "the TD error falls"),
        _returns(run, found),
        _by_finding(run, found, "episode-collapse", "episodes do not collapse", ("episode_length",)),
        _by_finding(
            run,
            found,
            "single-cause-termination",
            "episodes end for several reasons",
            ("lane_invasions", "collisions"),
            any_tag="termination_",
        ),
        _evaluation(run),
        _complete(run, found),
    ]


def _all(findings: list[Finding]) -> list[Finding]:
    return [g for f in findings for g in (f, *_all(f.symptoms))]


def _finite(run: Run, found: dict[str, Finding]) -> ChecklistItem:
    bad = found.get("nan-or-inf")
    total = sum(s.count for s in run.series.values())
    return ChecklistItem(
        "all values are finite", bad is None, bad.evidence[0].text if bad else f"{total:,} values"
    )


def _state_path(run: Run) -> ChecklistItem:
    name = "no gradient through the state input"
    s = run.get("grad_state_path")
    if s is None or s.highest is None:
        return ChecklistItem(name, None, "gradients/actor_state_path_norm is not logged")
    return ChecklistItem(name, s.highest.value < 1e-6, f"at most {number(s.highest.value)}")


def _gap(run: Run) -> ChecklistItem:
    name = "Q(policy) stays beside Q(data)"
    gap = q_gap(run)
    if gap is None or len(gap.step) < 2:
        return ChecklistItem(name, None, "Q(policy) and Q(data) are not both logged")
    late = float(np.median(gap.ratio[-max(2, len(gap.ratio) // 4) :]))
    text = (
        f"{number(float(gap.policy[-1]))} beside {number(float(gap.data[-1]))}: apart by {number(late)} of "
        "Q's scale"
    )
    return ChecklistItem(name, late < 3, text)


def _q_limits(run: Run) -> ChecklistItem:
    name = "Q(policy) is within limits"
    mean, most = run.policy_q, run.get("policy_q_max")
    if mean is None:
        return ChecklistItem(name, None, "Q(policy) is not logged")
    top = float(np.abs(mean.value).max())
    peak = float(np.abs(most.value).max()) if most is not None else math.nan
    figures = f"|mean| at most {number(top)}" + (
        f", |max| at most {number(peak)}" if most is not None else ""
    )
    limit = run.q_limit
    if limit is not None:
        within = max(top, peak if math.isfinite(peak) else 0) <= limit[0]
        return ChecklistItem(name, within, f"{figures}; reward bound {number(limit[0])}")
    within = top < Q_MEAN and not peak >= Q_MAX
    # without a reward bound a larger Q may be right for larger rewards
    return ChecklistItem(name, True if within else None, f"{figures}; no reward bound is known")


def _by_finding(
    run: Run,
    found: dict[str, Finding],
    id_: str,
    name: str,
    needs: tuple[str, ...],
    any_tag: str = "",
) -> ChecklistItem:
    finding = found.get(id_)
    if finding is not None and finding.severity > Severity.INFO:
        return ChecklistItem(name, False, finding.evidence[0].text)
    tagged = any_tag and any(any_tag in tag for tag in run.series)
    if not tagged and not any(run.has(n) for n in needs):
        return ChecklistItem(name, None, f"{' or '.join(run.tags_of(needs[0]))} is not logged")
    s = run.get(*needs)
    return ChecklistItem(name, True, f"{s.tag}: median {number(s.median())}" if s is not None else "")


def _alerts(run: Run, found: dict[str, Finding]) -> ChecklistItem:
    alerts = [t for t in run.series if is_alert(t)]
    if not alerts:
        return ChecklistItem("no alert fired", None, "no alerts are logged")
    fired = [t for t in alerts if float(np.nanmax(np.abs(run.series[t].value))) > 0]
    if not fired and "alert-unreachable" in found:
        return ChecklistItem(
            "no alert fired", None, f"{len(alerts)} alerts, all silent, which could not fire"
        )
    return ChecklistItem(
        "no alert fired", not fired, ", ".join(fired) if fired else f"{len(alerts)} alerts, all silent"
    )


def _falls(run: Run, found: dict[str, Finding], name: str, title: str) -> ChecklistItem:
    s = run.get(name)
    if s is None:
        return ChecklistItem(title, None, f"{run.tags_of(name)[0]} is not logged")
    if len(s) < 4:
        return ChecklistItem(title, None, f"only {len(s)} points")
    first, last = s.head(0.25).median(), s.tail(0.25).median()
    text = f"{number(first)} -> {number(last)} (medians of first and last quarter)"
    q = run.get("q1_mean") or run.policy_q
    if last > first and q is not None and len(q) >= 4 and "critic-divergence" not in found:
        # an error that grows no faster than Q does is that of a critic that starts from 0
        ratio = abs(q.tail(0.25).median()) / max(abs(q.head(0.25).median()), 1e-12)
        if last / max(first, 1e-12) <= ratio ** (1 if name == "td_error" else 2):
            return ChecklistItem(title, None, f"{text}; Q grows as fast")
    return ChecklistItem(title, last <= first, text)


def _returns(run: Run, found: dict[str, Finding]) -> ChecklistItem:
    s: Series | None = run.get("episode_return")
    title = "the return rises"
    if s is None:
        return ChecklistItem(title, None, f"{run.tags_of('episode_return')[0]} is not logged")
    if len(s) < 8:
        return ChecklistItem(title, None, f"only {len(s)} returns")
    first, last = s.head(1 / 3).median(), s.tail(1 / 3).median()
    return ChecklistItem(
        title,
        last >= first and "reward-degrading" not in found,
        f"{number(first)} -> {number(last)} (medians of first and last third)",
    )


def _evaluation(run: Run) -> ChecklistItem:
    s = run.get("eval_return", "eval_success")
    if s is None:
        return ChecklistItem("the policy was evaluated", False, "no evaluation")
    return ChecklistItem(
        "the policy was evaluated",
        True,
        f"{s.count} times; {s.tag} {number(s.last.value)} at step {s.last.step:,}",
    )


def _complete(run: Run, found: dict[str, Finding]) -> ChecklistItem:
    planned = run.hyper("steps")
    cut = found.get("run-interrupted")
    if planned is None:
        return ChecklistItem(
            "the run is complete", None if cut is None else False, f"{run.last_step:,} steps; plan not known"
        )
    return ChecklistItem(
        "the run is complete", cut is None, f"{run.last_step:,} of {planned.value:,.0f} steps"
    )
