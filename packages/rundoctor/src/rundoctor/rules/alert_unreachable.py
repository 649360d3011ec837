"""Alerts that cannot fire."""

from __future__ import annotations

import math

import numpy as np

from ..measures import MOST_TENSORS, clips, q_gap
from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run
from ..series import Series
from ..signals import alerts as signals
from ..signals.conditions import GRADIENT_EXPLOSION, POLICY_Q_GAP

_EXAMPLE = GRADIENT_EXPLOSION.alert


def check(run: Run) -> Outcome:
    alerts = {tag: s for tag, s in run.series.items() if signals.is_alert(tag) and len(s.finite)}
    if not alerts:
        return Skipped(
            "the run logs no alerts",
            (signals.WARNING.of(_EXAMPLE), signals.CRITICAL.of(_EXAMPLE)),
            f"Log each alert as 0 or 1, and its limit ({signals.LIMIT.tag}).",
        )
    fired = [s for s in alerts.values() if float(np.abs(s.finite.value).max()) > 0]
    by_threshold = _above_every_bound(run)
    if by_threshold:
        return _finding(by_threshold, 0.95)
    silent = [s for s in alerts.values() if s not in fired]
    gradient = [s for s in silent if "grad" in s.tag]
    bounded = _bounded_norms(run)
    trouble = _trouble(run)
    if not silent:
        return Clear(f"{len(fired)} alerts fired")
    if not trouble:
        return Clear(f"{len(alerts)} alerts, none fired, and nothing they watch for was found")
    if fired:
        return Clear(f"{len(fired)} of {len(alerts)} alerts fired")
    evidence = [
        Evidence(
            s.tag,
            s.last.step,
            s.last.value,
            f"{s.tag} is 0 on all {s.count:,} rows",
        )
        for s in silent[:4]
    ]
    evidence.append(trouble)
    if gradient and bounded:
        evidence += bounded
    return _finding(evidence, 0.85 if gradient and bounded else 0.6)


def _above_every_bound(run: Run) -> list[Evidence]:
    """Limits that were logged and lie above what the clip lets through."""
    out = []
    for tag, limit in run.series.items():
        if not (tag.startswith("alerts/") and tag.endswith(("_threshold", "_limit"))) or not len(
            limit.finite
        ):
            continue
        bound = _bound_of_watched(run, tag)
        level = float(limit.finite.value.min())
        if bound is not None and level > bound[0]:
            text = f"{tag} = {number(level)}, but {bound[1]}, at most {number(bound[0])}"
            out.append(Evidence(tag, limit.last.step, level, text))
    return out


def _bound_of_watched(run: Run, tag: str) -> tuple[float, str] | None:
    """What bounds the quantity that an alert with this limit watches, if the clip does."""
    known = clips(run)
    if not known:
        return None
    value = run.series.get(tag.rsplit("_", 1)[0] + "_value")
    if value is None:
        # nothing says what is watched: a limit named after gradients is on the logged norms
        if not tag.endswith("_threshold") or "grad" not in tag:
            return None
        mine = [c.limit for c in known if c.who in tag] or [c.limit for c in known]
        return max(mine) * math.sqrt(MOST_TENSORS), "the norms are logged after the clip"
    watched = value.finite
    if not len(watched):
        return None
    norms = [(c.limit, s.at(watched.step)) for c in known for s in (c.encoder, c.head) if s is not None]
    largest = np.fmax.reduce([n for _, n in norms])
    same = np.isclose(watched.value, largest, rtol=1e-4) | (watched.value <= 0)
    if same.mean() < 0.8 or not (watched.value > 0).any():
        return None
    most = max(limit for limit, _ in norms) * math.sqrt(MOST_TENSORS)
    return most, f"{value.tag} is the largest of the norms after the clip"


def _bounded_norms(run: Run) -> list[Evidence]:
    """The watched gradients, and what the clip bounds them by."""
    out = []
    for c in clips(run):
        s: Series | None = c.encoder
        if s is None or s.highest is None:
            continue
        most = c.limit * math.sqrt(MOST_TENSORS)
        if s.highest.value <= most:
            out.append(
                Evidence(
                    s.tag,
                    s.highest.step,
                    s.highest.value,
                    f"{s.tag} never exceeds {number(s.highest.value)}: after a clip at {c.limit:g} it "
                    "cannot, so no threshold above that ever fires",
                )
            )
    return out


def _trouble(run: Run) -> Evidence | None:
    """A failure on which a useful alert would have fired."""
    gap = q_gap(run)
    if gap is not None and len(gap.step) >= 3:
        level = float(np.median(gap.ratio[-max(2, len(gap.ratio) // 4) :]))
        if level > POLICY_Q_GAP.threshold("critical"):
            return Evidence(
                gap.policy_tag,
                int(gap.step[-1]),
                float(gap.policy[-1]),
                f"meanwhile Q(policy) reached {number(float(gap.policy[-1]))} beside Q(data) "
                f"{number(float(gap.data[-1]))}: training failed without an alert",
            )
    return None


def _finding(evidence: list[Evidence], confidence: float) -> Finding:
    return Finding(
        "alert-unreachable",
        WARNING,
        "The alerts could not fire",
        evidence,
        "The alerts watch gradient norms after the clip, which can never exceed the clip's limit, with "
        "thresholds above that limit; or they watch something that does not change when training fails. "
        "That no alert fired says nothing then.",
        "Watch quantities that can leave their range: norms before the clip against a multiple of the "
        "clip's limit, |Q| against r_max/(1-gamma), and Q(policy) / Q(data) against 3 and 10. Cause each "
        "fault once on purpose and check that its alert fires.",
        confidence,
        plots=(tuple(dict.fromkeys(e.tag for e in evidence if e.tag.startswith("alerts/"))),),
    )


RULE = Rule(
    id="alert-unreachable",
    title="Alerts that cannot fire",
    statement=(
        "After a clip at c a gradient norm is at most c (a sum of n tensors' norms at most c*sqrt(n)). An "
        "alert with a higher threshold never fires. Alerts that stay silent while training fails watch the "
        "wrong quantity."
    ),
    check=check,
    order=34,
)
