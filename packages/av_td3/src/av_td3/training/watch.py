"""What a run watches besides learning: alerts, failures of the simulator, how episodes end, its code."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from av_td3.health.alerts import Alert, AlertMonitor, Bounds
from av_td3.health.metrics import Scalars
from rundoctor.code import code_state, installed
from rundoctor.signals import conditions, episodes, machine

StopOn = Literal["never", "warning", "critical"]

EPISODES = 20
"""How many of the last episodes the share of rule-ended episodes is taken over."""
RECENT_STEPS = 1000
"""How long an incident of the simulator counts as recent."""


class Watch:
    """Judges every row of scalars, and decides whether an alert ends training."""

    def __init__(self, bounds: Bounds, log: Path | None = None, stop_on: StopOn = "never") -> None:
        """``log`` is the file that alerts are appended to, one JSON object a line."""
        self.bounds, self.stop_on = bounds, stop_on
        self.alerts = AlertMonitor(bounds, log)
        self.stop_reason = ""
        """The alert that ends training; empty as long as none does."""
        self.ends: deque[str] = deque(maxlen=EPISODES)
        """What ended the last episodes."""
        self._incident_steps: deque[int] = deque()
        self._incidents_seen = 0
        self._code_changed: bool | None = None  # None: the run does not say which code made it

    def test_alerts(self, step: int) -> Alert | None:
        """Set off every alert by its own drill; a critical alert names those that stay silent.

        An alert that cannot fire gives a false sense of safety.
        """
        dead = self.alerts.test()
        if not dead:
            return None
        text = f"cannot fire: {', '.join(dead)}"
        return self.event(conditions.ALERT_UNREACHABLE, step, float(len(dead)), text)

    def compare_code(self, recorded: str | None) -> None:
        """Compare the code on the disk with the hash that the run recorded when it started."""
        self._code_changed = recorded != code_state(installed()).sources if recorded else None

    def episode_ended(self, cause: str) -> None:
        """Remember what ended an episode."""
        self.ends.append(cause)

    def scalars(self, step: int, incidents: int) -> Scalars:
        """What happened around the learner lately; ``incidents`` is the environment's count so far."""
        self._incident_steps.extend([step] * (incidents - self._incidents_seen))
        self._incidents_seen = incidents
        while self._incident_steps and self._incident_steps[0] <= step - RECENT_STEPS:
            self._incident_steps.popleft()
        row = {machine.INCIDENTS.tag: float(len(self._incident_steps))}
        if len(self.ends) == EPISODES:
            row[episodes.RULE_ENDED_SHARE.tag] = self.ends.count("lane_invasion") / EPISODES
        if self._code_changed is not None:
            row[machine.CODE_CHANGED.tag] = float(self._code_changed)
        return row

    def judge(self, step: int, row: Mapping[str, float]) -> list[Alert]:
        """The alerts whose level changes with this row."""
        return [self._noted(alert) for alert in self.alerts.observe(step, row)]

    def event(self, condition: conditions.Condition, step: int, value: float, text: str) -> Alert:
        """A critical alert for something that no row of scalars shows."""
        return self._noted(self.alerts.raise_event(condition.alert, step, value, 0.0, text))

    def _noted(self, alert: Alert) -> Alert:
        if (alert.level == "critical" and self.stop_on != "never") or alert.level == self.stop_on:
            self.stop_reason = f"alert {alert.name} ({alert.level}): {alert.text}"
        return alert

    @property
    def about_to_stop(self) -> bool:
        """Whether the last row gave cause for an alert that would end training if it held."""
        return self.stop_on != "never" and self.alerts.rising

    def state(self) -> dict[str, Any]:
        """What a resumed run must know, JSON-able."""
        return {
            "alerts": self.alerts.state(),
            "ends": list(self.ends),
            "incident_steps": list(self._incident_steps),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.alerts.restore(state["alerts"])
        self.ends.extend(state["ends"])
        self._incident_steps.extend(state["incident_steps"])
