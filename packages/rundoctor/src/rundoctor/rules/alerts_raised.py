"""The run's own alerts fired."""

from __future__ import annotations

import numpy as np

from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped
from ..run import Run
from ..signals import alerts


def check(run: Run) -> Outcome:
    series = [s for tag, s in run.series.items() if alerts.is_alert(tag) and len(s.finite)]
    if not series and not run.alerts:
        return Skipped("the run logs no alerts", (alerts.WARNING.tag, alerts.CRITICAL.tag))
    fired = []
    for s in series:
        up = np.abs(s.finite.value) > 0
        if up.any():
            fired.append((int(s.finite.step[int(np.argmax(up))]), s, float(up.mean())))
    fired.sort(key=lambda f: f[0])
    evidence = [
        Evidence(s.tag, step, 1.0, f"{s.tag} fires first at step {step:,}, on {share:.0%} of {s.count} rows")
        for step, s, share in fired[:6]
    ]
    if not fired:
        for entry in run.alerts[:4]:
            step = entry.get("step")
            text = str(entry.get("text") or entry.get("message") or entry.get("name") or entry)[:200]
            at = int(step) if isinstance(step, int | float) else None
            evidence.append(Evidence("alerts.jsonl", at, None, text))
    if not evidence:
        return Clear(f"{len(series)} alerts, none fired")
    first = evidence[0].step
    return Finding(
        "alerts-raised",
        WARNING,
        "The run's own alerts fired" + (f" from step {first:,} on" if first is not None else ""),
        evidence,
        "A quantity that the run watches went beyond its limit.",
        "The findings beside this one say what went wrong. The record of the alert (alerts.jsonl) holds the "
        "figures.",
        0.9,
        onset=first,
        plots=(tuple(s.tag for _, s, _ in fired[:4]),) if fired else (),
    )


RULE = Rule(
    id="alerts-raised",
    title="Alerts of the run itself",
    statement=("The run's own limits were exceeded. What exceeded them is reported beside this finding."),
    check=check,
    order=36,
    consequence=True,
)
