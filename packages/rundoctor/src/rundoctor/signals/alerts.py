"""Alerts: what a run says of itself.  ``conditions.py`` says which there are and what they judge."""

from __future__ import annotations

from .conditions import ALERTS
from .model import Signal

PREFIX = "alerts/"
"""What the tag of every alert begins with."""
NAMES = tuple(condition.alert for condition in ALERTS)
"""Names of av-td3's alerts."""

WARNING = Signal(
    "alert_warning",
    "alerts/<alert>_warning",
    "1 while the alert is at warning or critical, else 0",
    "",
    "last",
    "0",
    choices=NAMES,
)
CRITICAL = Signal(
    "alert_critical",
    "alerts/<alert>_critical",
    "1 while the alert is at critical, else 0",
    "",
    "last",
    "0",
    choices=NAMES,
)
VALUE = Signal(
    "alert_value",
    "alerts/<alert>_value",
    "the figure that the alert judges, so that a silent alert can be checked",
    "as judged",
    "last",
    "below the limit",
    choices=NAMES,
)
LIMIT = Signal(
    "alert_limit",
    "alerts/<alert>_limit",
    "the limit that the alert compares its figure with",
    "as judged",
    "last",
    choices=NAMES,
)


def is_alert(tag: str) -> bool:
    """Whether a series is an alert itself, 0 or 1, and not its figure or its limit."""
    return tag.startswith(PREFIX) and not tag.endswith(("_threshold", "_limit", "_value"))
