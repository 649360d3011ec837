"""The check-list of a run that may go on: each line passed, failed or not judged, with figures."""

from __future__ import annotations

from .model import Check, Finding
from .run import Run


def checklist(run: Run, findings: list[Finding]) -> list[Check]:
    return []
